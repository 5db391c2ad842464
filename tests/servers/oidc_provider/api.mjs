// The protected API: it introspects every opaque token at the authorization server (RFC 7662).

import { createHash } from 'node:crypto';

import { createLocalJWKSet, jwtVerify } from 'jose';

import { BARE_CHALLENGE, certificateDigest, checkCertificate, checkProof, Refusal } from './proof.mjs';
import { increment } from './state.mjs';

export function buildApi({ config, state, publicJwks }) {
  const keys = createLocalJWKSet(publicJwks);
  return (request, response) => {
    // A client that disconnects in the middle of its body must not end the process.
    serve(request, response).catch((error) => console.error(error));
  };

  async function serve(request, response) {
    const url = addressOf(request);
    const seen = await digestBody(request);
    let answer;
    try {
      answer = { status: 200, body: { ...seen, ...(await admit(request, url)) } };
      redirected(answer, url);
    } catch (error) {
      answer = refusal(error);
    }
    answer.body.certificate = certificateDigest(request);
    count(state.counts, request, url, answer.status);
    send(response, answer, state);
  }

  async function admit(request, url) {
    const shown = credentials(request);
    const claims = await (shown.token.includes('.') ? signedClaims(shown) : introspect(shown));
    if (claims.aud && !config.api_audiences.includes(claims.aud)) {
      throw new Refusal('invalid_token', 'the token is for another API');
    }
    checkCertificate(request, claims);
    await checkProof(request, url, shown, claims, state);
    checkScope(request, url, claims);
    const { client_id, scope = '', aud = null } = claims;
    const { method, headers } = request;
    return { method, path: request.url, type: headers['content-type'] ?? null, client_id, scope, aud };
  }

  async function introspect({ token }) {
    const { client_id, client_secret } = config.resource_server;
    const basic = Buffer.from(`${client_id}:${client_secret}`).toString('base64');
    const response = await fetch(config.introspection_url, {
      method: 'POST',
      headers: { authorization: `Basic ${basic}` },
      body: new URLSearchParams({ token, token_type_hint: 'access_token' }),
    });
    const claims = await response.json();
    if (!response.ok) throw new Error(`introspection failed: ${JSON.stringify(claims)}`);
    if (!claims.active) throw new Refusal('invalid_token', 'the token is expired, revoked or unknown');
    return claims;
  }

  // A signed token can be neither introspected at oidc-provider nor revoked: its signature decides.
  async function signedClaims({ token }) {
    try {
      return (await jwtVerify(token, keys, { typ: 'at+jwt', issuer: config.issuers })).payload;
    } catch (error) {
      throw new Refusal('invalid_token', `the token does not verify: ${error.code}`);
    }
  }
}

function addressOf(request) {
  const scheme = request.socket.encrypted ? 'https' : 'http';
  return new URL(`${scheme}://${request.headers.host}${request.url}`);
}

// `/redirect?to=URL` answers 307, which keeps method and body.
function redirected(answer, url) {
  if (url.pathname !== '/redirect') return;
  Object.assign(answer, { status: 307, location: url.searchParams.get('to') });
}

async function digestBody(request) {
  const hash = createHash('sha256');
  let length = 0;
  for await (const chunk of request) {
    hash.update(chunk);
    length += chunk.length;
  }
  return { length, sha256: hash.digest('hex') };
}

function credentials(request) {
  const header = request.headers.authorization;
  if (header === undefined) throw new Refusal('', 'no credentials');
  const [scheme, token, ...rest] = header.split(' ');
  if (!/^(bearer|dpop)$/i.test(scheme) || !token || rest.length) {
    throw new Refusal('invalid_request', 'the Authorization header is malformed', { status: 400 });
  }
  return { scheme: scheme.toLowerCase(), token };
}

// `/open` and `/redirect` require only a token, `/admin` a scope that no client can get.
function checkScope({ method }, { pathname }, { scope = '' }) {
  if (pathname === '/open' || pathname === '/redirect') return;
  const reading = method === 'GET' || method === 'HEAD';
  const needed = pathname === '/admin' ? 'orders:admin' : reading ? 'orders:read' : 'orders:write';
  if (!scope.split(' ').includes(needed)) {
    throw new Refusal('insufficient_scope', `this needs the scope ${needed}`, { status: 403 });
  }
}

function refusal(error) {
  if (!(error instanceof Refusal)) {
    console.error(error);
    return { status: 500, body: { error: String(error) } };
  }
  const challenge = error.error ? error.challenge : BARE_CHALLENGE;
  return { status: error.status, challenge, body: { error: error.error, detail: error.message } };
}

function count(counts, { method }, { pathname }, status) {
  counts.api_requests += 1;
  increment(counts.api_by_status, status);
  increment(counts.api_by_route, `${method} ${pathname}`);
}

function send(response, { status, challenge, location, body }, state) {
  if (state.demandNonce.api_once && status < 400) state.rotateApiNonce();
  if (location) response.setHeader('location', location);
  response.setHeader('content-type', 'application/json');
  // On every answer, because a nonce may also change after a success (RFC 9449 8.2).
  if (state.demandNonce.api) response.setHeader('dpop-nonce', state.apiNonce);
  if (challenge) response.setHeader('www-authenticate', challenge);
  response.writeHead(status).end(JSON.stringify(body));
}
