// A second authorization server with its API: @node-oauth/oauth2-server. It reads HTTP Basic
// without the form decoding of RFC 6749 2.3.1, and its refusals have few details.

import OAuth2Server from '@node-oauth/oauth2-server';

import { increment } from './state.mjs';

const { Request, Response } = OAuth2Server;
const SCOPES = ['orders:read', 'orders:write'];

export function buildRawBasic({ config, state }) {
  const tokens = new Map();
  const server = new OAuth2Server({ model: model(config.raw_basic_clients, tokens) });
  state.alsoRevoke = () => tokens.clear();
  return async (request, response) => {
    const chunks = await request.toArray();
    const url = new URL(request.url, 'http://api');
    const body = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
    const query = Object.fromEntries(url.searchParams);
    const asked = new Request({ method: request.method, headers: request.headers, query, body });
    const answer = new Response({});
    const serve = url.pathname === '/token' ? issueToken : admit;
    await serve(server, asked, answer, state.counts);
    response.setHeader('content-type', 'application/json');
    response.writeHead(answer.status, answer.headers).end(JSON.stringify(answer.body));
  };
}

async function issueToken(server, asked, answer, counts) {
  counts.token_requests += 1;
  try {
    await server.token(asked, answer);
    counts.tokens_issued += 1;
  } catch (error) {
    increment(counts.token_errors, error.name);
  }
}

async function admit(server, asked, answer, counts) {
  try {
    const { client } = await server.authenticate(asked, answer, { scope: ['orders:read'] });
    answer.body = { client_id: client.id, body: asked.body };
  } catch (error) {
    Object.assign(answer, { status: error.code, body: { error: error.name } });
  }
  counts.api_requests += 1;
  increment(counts.api_by_status, answer.status);
}

function model(clients, tokens) {
  return {
    getClient: (id, secret) => {
      const client = clients.find((c) => c.client_id === id && c.client_secret === secret);
      return client && { id, grants: client.grants ?? ['client_credentials'] };
    },
    getUserFromClient: (client) => ({ id: client.id }),
    validateScope: (user, client, scope) => scope?.every((s) => SCOPES.includes(s)) && scope,
    saveToken: (token, client, user) => {
      const saved = { ...token, client, user };
      tokens.set(token.accessToken, saved);
      return saved;
    },
    getAccessToken: (accessToken) => tokens.get(accessToken),
    verifyScope: (token, scope) => scope.every((s) => token.scope?.includes(s)),
  };
}
