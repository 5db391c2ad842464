// The authorization server: oidc-provider, for the client credentials grant only.

import { X509Certificate } from 'node:crypto';

import Provider, { errors } from 'oidc-provider';

import { increment } from './state.mjs';

const SCOPES = ['orders:read', 'orders:write'];

export function buildProvider(issuer, { config, state, store, jwks, cookieKey, nonceSecret }) {
  const provider = new Provider(issuer, {
    adapter: store.adapter,
    clients: config.clients,
    jwks,
    cookies: { keys: [cookieKey] },
    scopes: SCOPES,
    responseTypes: [],
    clientAuthMethods: [...new Set(config.clients.map((c) => c.token_endpoint_auth_method))],
    clientDefaults: { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] },
    enabledJWA: {
      dPoPSigningAlgValues: ['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256'],
      clientAuthSigningAlgValues: [
        ...['HS256', 'HS384', 'HS512'],
        ...['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
      ],
    },
    discovery: { mtls_endpoint_aliases: { token_endpoint: config.mtls_token_url } },
    ttl: { ClientCredentials: (ctx, token, client) => state.ttl(client.clientId) },
    features: features(config, state, nonceSecret),
  });
  provider.use((ctx, next) => countTokenRequests(ctx, next, state));
  provider.on('server_error', (ctx, error) => console.error(error));
  // The answer to a client does not contain the reason of a refusal, so it is logged.
  provider.on('grant.error', (ctx, error) => console.error(error.error_detail ?? error.message));
  return provider;
}

function features(config, state, nonceSecret) {
  const resourceServer = config.resource_server.client_id;
  return {
    devInteractions: { enabled: false },
    userinfo: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: {
      enabled: true,
      allowedPolicy: (ctx, client, token) =>
        client.clientId === resourceServer || client.clientId === token.clientId,
    },
    revocation: {
      enabled: true,
      allowedPolicy: (ctx, client, token) => client.clientId === token.clientId,
    },
    dPoP: {
      enabled: true,
      nonceSecret,
      requireNonce: () => state.demandNonce.authorization_server,
    },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: (ctx) => clientCertificate(ctx.req.socket)?.toString(),
      certificateAuthorized: (ctx) => ctx.req.socket.authorized === true,
      certificateSubjectMatches: (ctx, property, expected) =>
        subjectMatches(clientCertificate(ctx.req.socket), property, expected),
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo: (ctx, resource) => resourceInfo(config.resources, resource),
    },
  };
}

export function clientCertificate(socket) {
  const raw = socket.getPeerCertificate?.().raw;
  return raw && new X509Certificate(raw);
}

function subjectMatches(certificate, property, expected) {
  if (property === 'tls_client_auth_san_dns') {
    return (certificate.subjectAltName ?? '').split(', ').includes(`DNS:${expected}`);
  }
  // Node lists the relative names from the top, RFC 4514 strings (RFC 8705 2.1.2) from the bottom.
  const subject = certificate.subject.split('\n').reverse().join(',');
  return property === 'tls_client_auth_subject_dn' && subject === expected;
}

function resourceInfo(resources, resource) {
  const format = resources[resource];
  if (!format) throw new errors.InvalidTarget('this resource is not known here');
  const info = { scope: SCOPES.join(' '), audience: resource, accessTokenFormat: format };
  return format === 'jwt' ? { ...info, jwt: { sign: { alg: 'ES256' } } } : info;
}

async function countTokenRequests(ctx, next, { counts }) {
  await next();
  if (ctx.path === '/token/introspection') counts.introspections += 1;
  if (ctx.path !== '/token') return;
  counts.token_requests += 1;
  increment(counts.token_requests_by_client, ctx.oidc?.client?.clientId ?? '');
  if (ctx.body?.access_token) counts.tokens_issued += 1;
  else increment(counts.token_errors, ctx.body?.error ?? String(ctx.status));
}
