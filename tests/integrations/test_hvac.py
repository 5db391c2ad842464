"""hvac, for a Vault behind a gateway, and for a Vault that takes our token as a login."""

from __future__ import annotations

import hvac
import pytest

from oauthcc.testing.faults import json_answer

SECRET = {"data": {"data": {"password": "x"}, "metadata": {}}}


@pytest.fixture
def vault(api):
    api.add_route("/v1/secret/data/", lambda seen: json_answer(SECRET))
    return api


def read(client):
    found = client.secrets.kv.v2.read_secret_version("db", raise_on_deleted_version=True)
    return found["data"]["data"]


def test_a_client_behind_a_gateway_works(session, vault, works_with):
    client = hvac.Client(vault.url, token="of-vault", session=session)
    assert works_with(lambda: read(client)) == {"password": "x"}
    assert {seen.headers["X-Vault-Token"] for seen in vault.requests} == {"of-vault"}


def test_a_401_in_the_end_is_an_error_of_hvac_without_the_token(session, vault, secrets_in):
    vault.refuse_next(2)
    with pytest.raises(hvac.exceptions.Unauthorized) as caught:
        read(hvac.Client(vault.url, session=session))
    assert secrets_in(str(caught.value)) == []


def test_our_token_is_a_login(session, auth, vault):
    vault.protected = False
    seen_tokens = []

    def login(seen):
        seen_tokens.append(seen.json()["jwt"])
        return json_answer({"auth": {"client_token": "of-vault"}})

    vault.add_route("/v1/auth/jwt/login", login)
    with session:
        client = hvac.Client(vault.url)
        jwt = session.tokens.get().access_token
        client.auth.jwt.jwt_login(role="orders", jwt=jwt)
        assert client.token == "of-vault"
        assert read(client) == {"password": "x"}
        client.adapter.close()
    assert seen_tokens == auth.issued
