// The data of the authorization server in one map, so that a test can revoke or expire every token.

export class Store {
  #entries = new Map();

  // The factory that oidc-provider calls for each model.
  adapter = (model) => ({
    upsert: async (id, payload) => void this.#entries.set(`${model}:${id}`, payload),
    find: async (id) => this.#entries.get(`${model}:${id}`),
    destroy: async (id) => void this.#entries.delete(`${model}:${id}`),
    consume: async (id) => void (this.#entries.get(`${model}:${id}`).consumed = now()),
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
    revokeByGrantId: async () => undefined,
  });

  revokeAll() {
    const keys = this.#tokenKeys();
    for (const key of keys) this.#entries.delete(key);
    return keys.length;
  }

  expireAll() {
    const keys = this.#tokenKeys();
    for (const key of keys) this.#entries.get(key).exp = now() - 1;
    return keys.length;
  }

  // Only tokens: without ReplayDetection, a used assertion or proof would be accepted again.
  #tokenKeys() {
    return [...this.#entries.keys()].filter((key) => key.startsWith('ClientCredentials:'));
  }
}

function now() {
  return Math.floor(Date.now() / 1000);
}
