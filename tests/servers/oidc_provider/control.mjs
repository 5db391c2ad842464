// The control channel, by which a test changes the servers and reads their counters.

export function buildControl({ state, store }) {
  const actions = {
    '/revoke-all': () => {
      state.alsoRevoke();
      return store.revokeAll();
    },
    '/expire-all': () => store.expireAll(),
    '/ttl': ({ client_id, seconds }) => void state.ttls.set(client_id, seconds),
    '/demand-nonce': (wanted) => void Object.assign(state.demandNonce, wanted),
    '/rotate-api-nonce': () => state.rotateApiNonce(),
    '/advance': ({ seconds }) => state.advance(seconds),
    '/counts': () => state.counts,
    '/reset': () => state.reset(),
  };
  return async (request, response) => {
    const chunks = await request.toArray();
    const action = actions[request.url];
    if (!action || request.method !== 'POST') return response.writeHead(404).end();
    const result = action(JSON.parse(Buffer.concat(chunks).toString() || '{}')) ?? null;
    return response.writeHead(200).end(JSON.stringify(result));
  };
}
