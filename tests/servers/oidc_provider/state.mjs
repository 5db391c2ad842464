// The settings that tests change through the control channel, and the counters that they read.

import { randomUUID } from 'node:crypto';

export const realNow = Date.now.bind(Date);

export class State {
  constructor() {
    this.reset();
    this.rotateApiNonce();
  }

  reset() {
    this.ttls = new Map();
    this.demandNonce = { authorization_server: true, api: true, api_once: false };
    this.counts = {
      token_requests: 0,
      tokens_issued: 0,
      token_errors: {},
      token_requests_by_client: {},
      introspections: 0,
      api_requests: 0,
      api_by_status: {},
      api_by_route: {},
    };
    this.advance(0);
  }

  ttl(clientId) {
    return this.ttls.get(clientId) ?? this.ttls.get('*') ?? 3600;
  }

  rotateApiNonce() {
    this.apiNonce = randomUUID();
  }

  // Sets the authorization server's clock ahead of the real time; the API uses the real time.
  advance(seconds) {
    Date.now = () => realNow() + seconds * 1000;
  }
}

export function increment(counters, name) {
  counters[name] = (counters[name] ?? 0) + 1;
}
