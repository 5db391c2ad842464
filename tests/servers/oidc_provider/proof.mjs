// Proofs of possession at the API: DPoP (RFC 9449 4.3 and 7) and client certificates (RFC 8705 3).

import { createHash } from 'node:crypto';

import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose';

import { clientCertificate } from './provider.mjs';
import { realNow } from './state.mjs';

const ALGORITHMS = ['ES256', 'ES384', 'PS256', 'RS256', 'EdDSA', 'Ed25519'];
const PROOF_AGE = 300;
const seen = new Set();

export class Refusal extends Error {
  constructor(error, description, { scheme = 'Bearer', status = 401 } = {}) {
    super(description);
    Object.assign(this, { error, scheme, status });
  }

  get challenge() {
    const text = `${this.scheme} error="${this.error}", error_description="${this.message}"`;
    return this.scheme === 'DPoP' ? `${text}, algs="${ALGORITHMS.join(' ')}"` : text;
  }
}

export const BARE_CHALLENGE = `Bearer realm="orders", DPoP algs="${ALGORITHMS.join(' ')}"`;

export function checkCertificate(request, { cnf }) {
  const bound = cnf?.['x5t#S256'];
  if (!bound) return;
  if (certificateDigest(request) !== bound) {
    throw new Refusal('invalid_token', 'the token is bound to another certificate');
  }
}

// The certificate digest for `cnf.x5t#S256`, or null if no certificate was sent.
export function certificateDigest(request) {
  const certificate = clientCertificate(request.socket);
  return certificate ? digest(certificate.raw) : null;
}

export async function checkProof(request, url, { scheme, token }, { cnf }, state) {
  if (scheme !== 'dpop') {
    if (cnf?.jkt) throw new Refusal('invalid_token', 'the token is bound to a key');
    return;
  }
  if (!cnf?.jkt) throw refuse('invalid_token', 'the token is not bound to a key');
  const proofs = request.headersDistinct.dpop ?? [];
  if (proofs.length !== 1) throw refuse('invalid_dpop_proof', 'exactly one proof is needed');
  const { payload, protectedHeader } = await verified(proofs[0]);
  if ((await calculateJwkThumbprint(protectedHeader.jwk)) !== cnf.jkt) {
    throw refuse('invalid_token', 'the token is bound to another key');
  }
  checkClaims(payload, request, url, token);
  if (state.demandNonce.api && payload.nonce !== state.apiNonce) {
    throw refuse('use_dpop_nonce', 'the proof needs the nonce of this server');
  }
  if (seen.has(payload.jti)) throw refuse('invalid_dpop_proof', 'the proof was used before');
  seen.add(payload.jti);
}

async function verified(proof) {
  try {
    return await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ALGORITHMS });
  } catch (error) {
    throw refuse('invalid_dpop_proof', `the proof does not verify: ${error.code}`);
  }
}

function checkClaims({ jti, iat, htm, htu, ath }, request, url, token) {
  const faults = [
    [typeof jti !== 'string' || !jti, 'jti is missing'],
    [!(Math.abs(realNow() / 1000 - iat) < PROOF_AGE), 'iat is too far from now'],
    [htm !== request.method, 'htm is another method'],
    [typeof htu !== 'string' || /[?#]/.test(htu), 'htu has a query or fragment, or is missing'],
    [URL.parse(htu)?.href !== new URL(url.pathname, url).href, 'htu is another address'],
    [ath !== digest(token), 'ath is not the hash of this token'],
  ];
  const fault = faults.find(([wrong]) => wrong);
  if (fault) throw refuse('invalid_dpop_proof', fault[1]);
}

function refuse(error, description) {
  return new Refusal(error, description, { scheme: 'DPoP' });
}

function digest(data) {
  return createHash('sha256').update(data).digest('base64url');
}
