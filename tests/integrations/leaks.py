"""A search for the secrets of a test."""

from __future__ import annotations

import base64

from oauthcc.testing import AuthorizationServer


def secrets_in(where: str | bytes, auth: AuthorizationServer) -> list[str]:
    """Return the names of the secrets that a text or a file contains."""
    text = where.decode("latin-1") if isinstance(where, bytes) else where
    basic = base64.b64encode(f"{auth.client_id}:{auth.client_secret}".encode()).decode()
    secrets = {"the secret": auth.client_secret, "the secret in HTTP Basic": basic}
    secrets.update({f"token {number}": token for number, token in enumerate(auth.issued, 1)})
    return [name for name, value in secrets.items() if value in text]
