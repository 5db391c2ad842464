// One process with the authorization server (http, https, https with client certificates), the
// protected API (http, and https on two origins), a second authorization server and the control
// channel, each on a free loopback port.
//
// The process reads its configuration as one line of JSON from stdin. When all servers listen, it
// prints one line of JSON with their addresses. It exits when stdin is closed, so it cannot outlive
// its parent.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer, Server as HttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createInterface } from 'node:readline';

import { exportJWK, generateKeyPair } from 'jose';

import { buildApi } from './api.mjs';
import { buildControl } from './control.mjs';
import { buildProvider } from './provider.mjs';
import { buildRawBasic } from './raw_basic.mjs';
import { State } from './state.mjs';
import { Store } from './store.mjs';

// stdout is used for the line with the addresses only.
console.info = console.error;

async function listen(server) {
  // An idle connection is never closed by the server, so the next request cannot fail for that.
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

async function openServers(tls) {
  const certificates = { ...tls, requestCert: true, rejectUnauthorized: false };
  const servers = {
    issuer: createHttpServer(),
    tls_issuer: createHttpsServer(tls),
    mtls: createHttpsServer(certificates),
    api: createHttpServer(),
    tls_api: createHttpsServer(certificates),
    other_tls_api: createHttpsServer(certificates),
    raw_basic: createHttpServer(),
    control: createHttpServer(),
  };
  const urls = {};
  for (const [name, server] of Object.entries(servers)) {
    const scheme = server instanceof HttpServer ? 'http' : 'https';
    urls[name] = `${scheme}://127.0.0.1:${await listen(server)}`;
  }
  return { servers, urls };
}

async function signingKeys() {
  const keys = [];
  for (const alg of ['RS256', 'ES256']) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(privateKey)), alg, use: 'sig', kid: alg });
  }
  const publicKeys = keys.map(({ d, p, q, dp, dq, qi, ...rest }) => rest);
  return { jwks: { keys }, publicJwks: { keys: publicKeys } };
}

async function main(config) {
  const { servers, urls } = await openServers(config.tls);
  Object.assign(config, {
    issuers: [urls.issuer, urls.tls_issuer],
    introspection_url: `${urls.issuer}/token/introspection`,
    mtls_token_url: `${urls.mtls}/token`,
  });
  const [cookieKey, nonceSecret] = [randomBytes(16).toString('hex'), randomBytes(32)];
  const shared = { config, state: new State(), store: new Store(), cookieKey, nonceSecret };
  Object.assign(shared, await signingKeys());
  servers.issuer.on('request', buildProvider(urls.issuer, shared).callback());
  // Two issuers share one store: each publishes its own address as `issuer`.
  const secure = buildProvider(urls.tls_issuer, shared).callback();
  servers.tls_issuer.on('request', secure);
  servers.mtls.on('request', secure);
  const api = buildApi(shared);
  servers.api.on('request', api);
  servers.tls_api.on('request', api);
  servers.other_tls_api.on('request', api);
  servers.raw_basic.on('request', buildRawBasic(shared));
  servers.control.on('request', buildControl(shared));
  process.stdout.write(`${JSON.stringify(urls)}\n`);
}

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
const [line] = await once(lines, 'line');
await main(JSON.parse(line));
