"""Tests of ``oauthcc doctor``: each fault is planted, and found by the real command."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import shlex
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from oauthcc.cli.commands import app
from oauthcc.cli.doctor import limits
from oauthcc.cli.doctor.texts import TEXTS
from oauthcc.testing import Answer, Fault, ProtectedAPI, faults
from oauthcc.testing.faults import json_answer
from oauthcc.testing.token_response import OMIT

from .doctor_world import RENDERINGS, SECRET, Authority, World, make_authority, read_all, worlds
from .servers.certificates import Certificates

PROBLEM, WARNING = "problem", "warning"
WRONG = "an0ther-s3cret"
Plant = Callable[[World], Any]
FAULTS: list[Any] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    yield from worlds(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def fault(code: str, status: str = PROBLEM) -> Callable[[Plant], Plant]:
    """Add a function that plants a fault, with the code and the status that are expected."""

    def add(plant: Plant) -> Plant:
        FAULTS.append(pytest.param(plant, code, status, id=plant.__name__))
        return plant

    return add


def url_of(port: int, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{port}"


# -- the configuration ----------------------------------------------------------------------------


@fault("missing_variable")
def no_client_id(world: World) -> None:
    world.set(CLIENT_ID=None)


@fault("missing_variable")
def no_secret_for_a_method_that_needs_one(world: World) -> None:
    world.set(CLIENT_SECRET=None, CLIENT_AUTH="client_secret_post")


@fault("missing_variable")
def a_secret_that_is_a_line_break(world: World) -> None:
    world.set(CLIENT_SECRET="\n")


@fault("misspelled_variable")
def a_misspelled_secret(world: World) -> None:
    world.set(CLIENT_SECRET=None, CLIENT_SECRT=SECRET)


@fault("misspelled_variable")
def a_misspelled_prefix(world: World) -> None:
    world.set(CLIENT_SECRET=None)
    world.patch.setenv("OATH_CLIENT_SECRET", SECRET)
    world.patch.setenv("GOOGLE_OAUTH_CLIENT_SECRET", SECRET)


@fault("unknown_variable", WARNING)
def a_misspelled_scope(world: World) -> None:
    world.set(SCOPES="a")


@fault("bad_configuration")
def both_url_and_issuer(world: World) -> None:
    world.set(ISSUER=world.auth.issuer)


@fault("bad_configuration")
def an_unknown_method(world: World) -> None:
    world.set(CLIENT_AUTH="client_secret_basik")


@fault("bad_configuration")
def a_url_without_scheme(world: World) -> None:
    world.set(TOKEN_URL="as.example/token")


@fault("bad_configuration")
def an_unknown_profile(world: World) -> tuple[str, ...]:
    return "--profile", "orders"


@fault("plain_http")
def https_written_as_http(world: World) -> None:
    world.set(TOKEN_URL="http://as.example/token")


@fault("secret_with_newline", WARNING)
def a_line_break_after_the_secret(world: World) -> None:
    world.set(CLIENT_SECRET=f"{SECRET}\r\n")


@fault("secret_with_newline", WARNING)
def a_line_break_in_the_file(world: World) -> None:
    in_file(world, f"{SECRET}\n")


@fault("wrong_secret")
def a_space_after_the_secret(world: World) -> None:
    world.set(CLIENT_SECRET=f"{SECRET} ")


@fault("secret_with_spaces", WARNING)
def a_space_before_the_secret(world: World) -> None:
    in_file(world, f" {SECRET}")


@fault("secret_in_quotes", WARNING)
def a_secret_in_quotes(world: World) -> None:
    world.set(CLIENT_SECRET=f'"{SECRET}"')


@fault("secret_empty")
def an_empty_file(world: World) -> None:
    in_file(world, "\n")


@fault("secret_unreadable")
def no_such_file(world: World) -> None:
    world.set(CLIENT_SECRET=None, CLIENT_SECRET_FILE=str(world.folder / "none"))


@fault("secret_unreadable")
def a_pipe_that_nobody_writes_to(world: World) -> None:
    world.hurry()
    path = world.folder / "pipe"
    os.mkfifo(path)
    world.set(CLIENT_SECRET=None, CLIENT_SECRET_FILE=str(path))


@fault("secret_with_control_character")
def two_lines_in_the_file(world: World) -> None:
    in_file(world, f"{SECRET}\nand more")


@fault("secret_with_control_character")
def two_lines_in_the_variable(world: World) -> None:
    world.set(CLIENT_SECRET=f"{SECRET}\tand more")


def in_file(world: World, text: str) -> None:
    path = world.folder / "secret"
    path.write_text(text)
    world.set(CLIENT_SECRET=None, CLIENT_SECRET_FILE=str(path))


# -- the network ----------------------------------------------------------------------------------


@fault("unresolvable")
def a_name_that_does_not_exist(world: World) -> None:
    world.set(TOKEN_URL="https://as.invalid/token")


@fault("unresolvable")
def a_name_that_is_too_long(world: World) -> None:
    world.set(TOKEN_URL=f"https://{'a' * 64}.invalid/token")


@fault("resolver_hanging")
def a_resolver_that_hangs(world: World) -> None:
    world.replaced["socket.getaddrinfo"] = world.sleep()


@fault("connection_refused")
def nothing_listens(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.closed())}/token")


@fault("unreachable")
def no_route(world: World) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(113, "No route to host")

    world.replaced["socket.create_connection"] = fail


@fault("hanging")
def a_port_that_drops_everything(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.full())}/token")


@fault("hanging")
def a_handshake_that_hangs(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.silent(), 'https')}/token")


@fault("hanging")
def a_token_endpoint_that_hangs(world: World) -> None:
    world.auth.answer_next(world.hang(), n=None)


@fault("dripping")
def a_token_endpoint_that_drips(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.drips())}/token")


@fault("hanging")
def an_issuer_that_hangs(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    world.auth.answer_next(world.hang(), n=None, path="/.well-known")


@fault("not_tls")
def plain_http_on_the_https_port(world: World) -> None:
    world.hurry()
    world.set(TOKEN_URL=world.auth.token_url.replace("http:", "https:"))


@fault("not_tls")
def an_http_server_that_hangs_up_on_tls(world: World) -> None:
    def converse(connection: Any) -> None:
        if connection.recv(4096).startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")

    world.set(TOKEN_URL=f"{url_of(world.listen(converse), 'https')}/token")


@fault("hanging")
def an_issuer_whose_name_hangs_later(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    locate = "oauthcc.token_request.endpoint.TokenEndpoint._locate"
    world.replaced[locate] = world.sleep()


@fault("not_tls")
def an_http_server_that_waits_for_more(world: World) -> None:
    def converse(connection: Any) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")

    world.set(TOKEN_URL=f"{url_of(world.listen(converse), 'https')}/token")


@fault("tls_failed")
def a_port_that_is_neither(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.listen(lambda _: None), 'https')}/token")


@fault("connection_broken")
def a_server_that_is_not_http(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.says(b'220 ready'))}/token")


@fault("bad_ca_bundle")
def no_bundle(world: World) -> None:
    world.patch.setenv("REQUESTS_CA_BUNDLE", str(world.folder))
    world.set(TOKEN_URL=f"{url_of(world.silent(), 'https')}/token")
    (world.folder / "ca.pem").write_text("nothing")
    world.patch.setenv("REQUESTS_CA_BUNDLE", str(world.folder / "ca.pem"))


# -- proxies --------------------------------------------------------------------------------------


@fault("dead_proxy")
def a_proxy_without_a_name(world: World) -> None:
    through(world, "http://proxy.invalid:3128")


@fault("dead_proxy")
def a_proxy_whose_name_hangs(world: World) -> None:
    through(world, "http://proxy.example:3128")
    world.set(API_URL=None)
    world.replaced["socket.getaddrinfo"] = world.sleep()


@fault("dead_proxy")
def a_proxy_that_is_down(world: World) -> None:
    through(world, f"127.0.0.1:{world.closed()}")


@fault("dead_proxy")
def a_proxy_that_drops_everything(world: World) -> None:
    through(world, url_of(world.full()))


@fault("dead_proxy")
def a_proxy_that_says_nothing(world: World) -> None:
    through(world, url_of(world.silent()))


@fault("dead_proxy")
def a_proxy_that_is_not_http(world: World) -> None:
    through(world, url_of(world.says(b"SSH-2.0-x\r\n\r\n")))


@fault("dead_proxy")
def a_proxy_that_closes(world: World) -> None:
    through(world, url_of(world.says(b"")))


@fault("proxy_cannot_connect")
def a_proxy_that_reaches_nothing(world: World) -> None:
    through(world, url_of(world.says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")))


@fault("proxy_login")
def a_proxy_with_a_login(world: World) -> None:
    proxy = world.says(b"HTTP/1.1 407 Login\r\n\r\n")
    through(world, f"http://me:{quote(SECRET, safe='')}@127.0.0.1:{proxy}")


@fault("bad_proxy_url")
def a_proxy_whose_password_is_not_quoted(world: World) -> None:
    through(world, f"http://me:{SECRET}@127.0.0.1:3128")


@fault("bad_proxy_url")
def a_proxy_without_a_host(world: World) -> None:
    through(world, "http://[")


@fault("unknown_ca")
def a_proxy_that_does_not_read_but_the_ca_is_unknown(world: World) -> None:
    context = make_authority(world.folder).server()
    world.use_tls(context, None)
    world.proxy()


@fault("dead_proxy")
def a_proxy_with_tls_that_is_down(world: World) -> None:
    through(world, f"https://me:{quote(SECRET, safe='')}@127.0.0.1:{world.closed()}")


@fault("dead_proxy")
def a_proxy_with_tls_that_is_down_before_the_api(world: World) -> None:
    world.patch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{world.closed()}")
    world.set(API_URL="https://api.example/v1")


@fault("dead_proxy")
def a_proxy_in_capitals_that_is_down(world: World) -> None:
    through(world, f"HTTP://127.0.0.1:{world.closed()}")


@fault("hanging")
def a_server_that_hangs_behind_a_proxy(world: World) -> None:
    world.set(TOKEN_URL=f"{url_of(world.silent(), 'https')}/token")
    world.proxy()


def through_http(world: World, answer: bytes) -> None:
    world.patch.setenv("http_proxy", url_of(world.says(answer)))
    world.patch.setenv("no_proxy", "127.0.0.1")


def through(world: World, proxy: str) -> None:
    world.patch.setenv("HTTPS_PROXY", proxy)
    world.set(TOKEN_URL="https://as.example/token")


# -- the token request ----------------------------------------------------------------------------


@fault("wrong_secret")
def a_wrong_secret(world: World) -> None:
    world.set(CLIENT_SECRET=WRONG)
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_at_keycloak(world: World) -> None:
    refuse(world, 401, "unauthorized_client", "Invalid client or Invalid client credentials")
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_with_the_sentence_of_the_rfc(world: World) -> None:
    said = (
        "Client authentication failed (e.g., unknown client, no client authentication included, or"
        " unsupported authentication method). The provided client secret is invalid."
    )
    refuse(world, 401, "invalid_client", said)
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_at_authlib(world: World) -> None:
    said = "The client cannot authenticate with methods: ['client_secret_basic', 'none']"
    refuse(world, 401, "invalid_client", said)
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_whose_answer_names_the_method(world: World) -> None:
    refuse(world, 401, "invalid_client", "client_secret_basic: the credentials do not match")
    metadata(world, 404)


@fault("wrong_secret")
def a_client_that_entra_does_not_know(world: World) -> None:
    said = "AADSTS700016: Application with identifier 'x' was not found in the directory 'y'."
    refuse(world, 400, "unauthorized_client", said)
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_with_a_name_of_its_own_and_200(world: World) -> None:
    body = {"error": "incorrect_client_credentials", "error_description": "The client_id is wrong"}
    world.auth.answer_next(json_answer(body), n=None)
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_called_an_invalid_grant(world: World) -> None:
    refuse(world, 400, "invalid_grant", "Invalid client credentials")
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_in_an_object(world: World) -> None:
    body = {"error": {"code": "invalid_client", "message": f"{SECRET} is wrong"}}
    world.auth.answer_next(json_answer(body, 400), n=None)
    metadata(world, 404)


@fault("wrong_secret")
def a_wrong_secret_answered_403(world: World) -> None:
    world.auth.answer_next(json_answer({"message": "Bad credentials"}, 403), n=None)
    metadata(world, 404)


@fault("wrong_secret")
def a_401_without_a_reason(world: World) -> None:
    world.auth.answer_next(Answer(401), n=None)


@fault("method_not_accepted")
def a_method_that_the_issuer_does_not_list(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    listed = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    world.auth.metadata = listed
    world.auth.add_client("my-client", SECRET, method="client_secret_post")


@fault("method_not_accepted")
def a_method_that_metadata_nearby_does_not_list(world: World) -> None:
    world.auth.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    refuse(world, 401, "invalid_client")


@fault("method_not_accepted")
def a_method_that_the_answer_names(world: World) -> None:
    refuse(world, 400, "invalid_request", "Missing parameter: client_id")
    metadata(world, 404)


@fault("method_not_accepted")
def a_place_of_the_secret_that_the_answer_names(world: World) -> None:
    refuse(world, 400, "invalid_request", "The client credentials must be in the request body")
    metadata(world, 404)


@fault("method_not_accepted")
def a_method_that_the_answer_asks_for(world: World) -> None:
    refuse(world, 401, "invalid_client", "This client must use client_secret_post")
    metadata(world, 404)


@fault("method_not_accepted")
def a_client_id_that_is_missing_in_the_body(world: World) -> None:
    refuse(world, 400, "invalid_request", "client_id is missing")
    metadata(world, 404)


@fault("method_not_accepted")
def a_method_that_is_found_by_trying(world: World) -> tuple[str, ...]:
    world.auth.add_client("my-client", SECRET, method="client_secret_post")
    return "--try", "client_secret_post"


@fault("wrong_secret")
def a_secret_that_is_wrong_in_both_ways(world: World) -> tuple[str, ...]:
    world.set(CLIENT_SECRET=WRONG)
    return "--try", "client_secret_post"


@fault("wrong_path")
def a_wrong_path(world: World) -> None:
    world.set(TOKEN_URL=f"{world.auth.url}/tokens")


@fault("wrong_path")
def a_path_without_post(world: World) -> None:
    world.auth.answer_next(Answer(501), n=None)


@fault("redirecting_url")
def a_redirect(world: World) -> None:
    world.auth.answer_next(faults.redirect("https://as.example/oauth/token"), n=None)


@fault("login_page")
def a_login_page(world: World) -> None:
    world.auth.answer_next(faults.html(), n=None)


@fault("login_page")
def a_login_page_without_a_type(world: World) -> None:
    world.auth.answer_next((200, {}, b" <div>Please sign in"), n=None)


@fault("empty_answer")
def an_empty_answer(world: World) -> None:
    world.auth.answer_next(Answer(200), n=None)


@fault("no_token")
def an_answer_without_a_token(world: World) -> None:
    world.auth.answer_next(json_answer({"message": f"fine: {SECRET}"}), n=None)


@fault("no_token")
def an_answer_that_is_no_object(world: World) -> None:
    world.auth.answer_next(json_answer([SECRET]), n=None)


@fault("no_token")
def an_answer_without_end(world: World) -> None:
    world.auth.answer_next(faults.endless(), n=None)


@fault("token_type_unknown")
def a_type_of_token_that_is_not_known(world: World) -> None:
    world.auth.token_fields = {"token_type": "mac"}


@fault("scope_refused")
def a_scope_that_is_refused(world: World) -> None:
    world.auth.add_client("my-client", SECRET, scopes=["a"])
    world.set(SCOPE="a b")


@fault("scope_refused")
def a_scope_that_is_refused_in_words(world: World) -> None:
    refuse(world, 400, "invalid_request", "The requested scope is not known")


@fault("audience_refused")
def a_resource_that_entra_does_not_know(world: World) -> None:
    refuse(world, 400, "invalid_resource", "AADSTS500011: The resource principal was not found")


@fault("audience_refused")
def an_audience_that_is_refused(world: World) -> None:
    refuse(world, 400, "invalid_target")


@fault("grant_not_allowed")
def a_client_that_may_not(world: World) -> None:
    refuse(world, 400, "unauthorized_client", "Not allowed to use this grant")


@fault("grant_not_allowed")
def a_grant_that_auth0_does_not_allow(world: World) -> None:
    said = "Grant type 'client_credentials' not allowed for the client."
    refuse(world, 403, "unauthorized_client", said)


@fault("grant_not_allowed")
def a_grant_without_a_user_at_salesforce(world: World) -> None:
    refuse(world, 400, "invalid_grant", "no client credentials user enabled")


@fault("grant_not_allowed")
def a_grant_that_is_not_there(world: World) -> None:
    refuse(world, 400, "unsupported_grant_type")


@fault("request_refused")
def a_request_that_is_refused(world: World) -> None:
    refuse(world, 400, "invalid_request", f"What is {SECRET}?")


@fault("request_refused")
def an_api_that_auth0_does_not_allow(world: World) -> None:
    refuse(world, 403, "access_denied", "Service not found: https://orders.example")


@fault("client_certificate_demanded")
def a_page_that_demands_a_client_certificate(world: World) -> None:
    page = b"<html><title>400 No required SSL certificate was sent</title>"
    world.auth.answer_next((400, {"Content-Type": "text/html"}, page), n=None)


@fault("blocked")
def a_firewall(world: World) -> None:
    world.auth.answer_next(faults.html(403), n=None)


@fault("proxy_login")
def a_proxy_that_sees_the_request_and_wants_a_login(world: World) -> None:
    world.auth.answer_next(Answer(407), n=None)


@fault("rate_limited")
def a_limit_of_requests(world: World) -> None:
    world.auth.answer_next(faults.unavailable(429, "3600"), n=None)


@fault("unavailable")
def a_server_in_maintenance(world: World) -> None:
    world.auth.answer_next(faults.unavailable(503, "120"), n=None)


@fault("unavailable")
def an_issuer_in_maintenance(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    world.auth.answer_next(faults.unavailable(503), n=None, path="/.well-known")


@fault("server_error")
def a_server_with_an_error(world: World) -> None:
    world.auth.answer_next(Answer(500, {}, SECRET.encode()), n=None)


@fault("connection_broken")
def a_server_that_hangs_up(world: World) -> None:
    world.hurry()
    world.auth.answer_next(faults.reset(), n=None)


@fault("discovery_failed")
def an_issuer_without_metadata(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=f"{world.auth.issuer}/tenant")


@fault("unresolvable")
def an_issuer_that_cannot_be_reached(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER="https://as.invalid")


@fault("method_not_listed", WARNING)
def a_method_that_is_not_listed_and_accepted(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    world.auth.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}


def refuse(world: World, status: int, error: str, description: str = "") -> None:
    world.auth.refuse_next(None, error=error, description=description, status=status)


def metadata(world: World, status: int) -> None:
    world.auth.answer_next(Answer(status), n=None, path="/.well-known")


# -- the token ------------------------------------------------------------------------------------


@fault("scope_narrowed", WARNING)
def a_narrowed_scope(world: World) -> None:
    world.set(SCOPE="orders:read orders:write")
    world.auth.token_fields = {"scope": "orders:read"}


@fault("no_expires_in", WARNING)
def no_lifetime(world: World) -> None:
    world.auth.token_lifetime = None


@fault("expired_token")
def a_lifetime_of_nothing(world: World) -> None:
    world.auth.token_lifetime = 0


@fault("short_lifetime", WARNING)
def a_short_lifetime(world: World) -> None:
    world.auth.token_lifetime = 12


@fault("long_lifetime", WARNING)
def a_lifetime_in_milliseconds(world: World) -> None:
    world.auth.token_lifetime = 36_000_000


@fault("clock_off", WARNING)
def a_clock_that_is_behind(world: World) -> None:
    with_date(world, formatdate(time.time() - 7200, usegmt=True))


@fault("clock_off", WARNING)
def a_clock_that_is_ahead(world: World) -> None:
    with_date(world, formatdate(time.time() + 7200, usegmt=True))


@fault("scope_narrowed", WARNING)
def a_narrowed_scope_with_commas(world: World) -> None:
    world.set(SCOPE="orders:read orders:write")
    world.auth.token_fields = {"scope": "orders:read,stock"}


@fault("exp_contradicts_clock", WARNING)
def a_token_that_has_expired(world: World) -> None:
    world.issue_jwt(exp=int(time.time()) - 100)


@fault("nbf_contradicts_clock", WARNING)
def a_token_of_tomorrow(world: World) -> None:
    world.issue_jwt(iss="https://as.example", iat=int(time.time()) + 86400, exp=True)


@fault("audience_mismatch")
def a_token_for_another_audience(world: World) -> None:
    world.set(AUDIENCE="https://orders.example")
    world.issue_jwt(aud=["https://stock.example", 7])


def with_date(world: World, date: str) -> None:
    answer = {"access_token": "the-token-of-this-test", "token_type": "Bearer", "expires_in": 3600}
    world.auth.answer_next(json_answer(answer, headers={"Date": date}), n=None)
    world.api.protected = False


# -- the API --------------------------------------------------------------------------------------


@fault("outside_api_url")
def a_url_outside(world: World) -> tuple[str, ...]:
    return (f"{world.api.url}/v10/orders",)


@fault("plain_http_api", WARNING)
def an_api_with_plain_http(world: World) -> None:
    world.set(API_URL="http://api.invalid/v1")
    through_http(world, b"HTTP/1.1 204 No Content\r\n\r\n")


@fault("api_request_failed")
def an_api_with_plain_http_and_no_prefix(world: World) -> tuple[str, ...]:
    world.set(API_URL=None)
    through_http(world, b"")
    return ("http://api.invalid/v1",)


@fault("connection_refused")
def an_api_that_is_down(world: World) -> None:
    world.set(API_URL=url_of(world.closed()))


@fault("hanging")
def an_api_that_hangs(world: World) -> None:
    world.api.answer_next(world.hang(), n=None)


@fault("dripping")
def an_api_that_drips(world: World) -> None:
    world.hurry()

    def play(line: Any) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        line.wait_until_closed()

    world.api.answer_next(Fault("stalled", play), n=None)


@fault("connection_broken")
def an_api_that_hangs_up(world: World) -> None:
    world.hurry()
    world.api.answer_next(faults.cut(), n=None)


@fault("connection_broken")
def an_api_that_hangs_up_beside_a_bad_bundle(world: World) -> None:
    world.hurry()
    world.patch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
    world.api.answer_next(faults.cut(), n=None)


@fault("connection_broken")
def an_api_with_a_broken_body(world: World) -> None:
    world.hurry()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.api.answer_next(faults.garbage(head + b"what?\r\n"), n=None)


@fault("tls_expected")
def an_api_that_answers_http_on_its_https_port(world: World) -> None:
    context = make_authority(world.folder).server()

    def converse(connection: Any) -> None:
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            context.wrap_socket(connection, server_side=True).recv(1)
        connection.recv(65536)
        said = b"The plain HTTP request was sent to HTTPS port"
        head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(said)
        connection.sendall(head + said)

    world.set(API_URL=f"{url_of(world.listen(converse))}/v1")


@fault("tls_expected")
def an_api_whose_https_was_written_as_http(world: World) -> None:
    authority = make_authority(world.folder)
    world.patch.setenv("REQUESTS_CA_BUNDLE", authority.bundle)
    api = world.stack.enter_context(ProtectedAPI(world.auth, tls=authority.server()))
    world.set(API_URL=api.url.replace("https", "http"))


@fault("tls_expected")
def an_api_whose_https_was_written_as_http_and_whose_ca_is_unknown(world: World) -> None:
    authority = make_authority(world.folder)
    api = world.stack.enter_context(ProtectedAPI(world.auth, tls=authority.server()))
    world.set(API_URL=api.url.replace("https", "http"))


@fault("token_refused")
def an_api_that_refuses_the_token(world: World) -> None:
    world.api.refuse_next(None)


@fault("no_challenge")
def a_401_without_a_challenge(world: World) -> None:
    body = json.dumps({"message": f"who is {SECRET}?"}).encode()
    world.api.refuse_next(None, headers={}, body=body)


@fault("other_scheme")
def an_api_that_wants_a_password(world: World) -> None:
    world.api.refuse_next(None, headers={"WWW-Authenticate": 'Basic realm="api"'})


@fault("audience_mismatch")
def an_api_that_names_the_audience(world: World) -> None:
    challenge = 'Bearer error="invalid_token", error_description="The audience is wrong"'
    world.api.refuse_next(None, headers={"WWW-Authenticate": challenge})


@fault("token_refused")
def an_api_that_may_be_in_the_audience(world: World) -> None:
    world.issue_jwt(aud=["https://stock.example", "orders"])
    world.api.refuse_next(None)


@fault("audience_mismatch")
def an_api_that_names_the_audience_in_its_body(world: World) -> None:
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"', "Content-Type": "text/plain"}
    world.api.refuse_next(None, headers=headers, body=b"Audiences in Jwt are not allowed")


@fault("token_refused")
def an_audience_that_is_no_web_address(world: World) -> None:
    world.issue_jwt(aud=["api://orders", "https://[bad"])
    world.api.refuse_next(None)


@fault("token_refused")
def a_token_that_is_refused_with_400(world: World) -> None:
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="no"'}
    world.api.refuse_next(None, 400, headers=headers)


@fault("other_scheme")
def an_api_that_wants_another_kind_of_token(world: World) -> None:
    world.api.refuse_next(None, headers={"WWW-Authenticate": 'DPoP realm="a, Bearer b"'})


@fault("client_certificate_demanded")
def an_api_with_a_page_that_demands_a_client_certificate(world: World) -> None:
    page = b"<html><title>400 The SSL certificate error</title>"
    world.api.answer_next((400, {"Content-Type": "text/html"}, page), n=None)


@fault("audience_mismatch")
def an_api_that_is_not_in_the_audience(world: World) -> None:
    world.issue_jwt(aud="https://stock.example")
    world.api.refuse_next(None)


@fault("insufficient_scope")
def a_scope_that_is_not_sufficient(world: World) -> None:
    world.api.require_scope("/v1", "orders:write")


@fault("insufficient_scope")
def a_scope_that_is_not_sufficient_in_the_body(world: World) -> None:
    body = b'{"error": "insufficient_scope"}'
    world.api.refuse_next(None, 403, headers={}, body=body)


@fault("insufficient_scope")
def a_scope_that_is_not_sufficient_in_an_object(world: World) -> None:
    inner = {"code": 403, "message": f"Request of {SECRET} had insufficient authentication scopes."}
    body = json.dumps({"error": inner}).encode()
    world.api.refuse_next(None, 403, headers={}, body=body)


@fault("insufficient_scope")
def a_scope_that_is_not_sufficient_in_several_chunks(world: World) -> None:
    def play(line: Any) -> None:
        line.send(b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"title": "insuf', b'ficient_scope"}', b""):
            line.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.05)  # else they arrive together

    world.api.answer_next(Fault("chunks", play), n=None)


@fault("forbidden")
def a_403_without_a_challenge(world: World) -> None:
    world.api.refuse_next(None, 403, headers={}, body=b"[]")


@fault("api_login_page")
def an_api_that_redirects_to_a_login(world: World) -> None:
    world.api.answer_next(faults.redirect("https://sso.example/login?next=/v1"), n=None)


@fault("api_redirects", WARNING)
def an_api_with_authors(world: World) -> None:
    world.api.answer_next(faults.redirect("/authors/"), n=None)


@fault("api_redirects", WARNING)
def an_api_that_redirects(world: World) -> None:
    world.api.answer_next(faults.redirect("/v2"), n=None)


@fault("api_html", WARNING)
def an_api_with_a_web_page_in_a_language(world: World) -> None:
    world.api.answer_next((200, {}, b'<HTML lang="en">Welcome'), n=None)


@fault("api_html", WARNING)
def an_api_with_a_web_page(world: World) -> None:
    world.api.answer_next((200, {}, b"\n<!DOCTYPE html>Welcome"), n=None)


@fault("rate_limited")
def an_api_with_a_limit(world: World) -> None:
    world.api.answer_next(faults.unavailable(429, "3600"), n=None)


@fault("unavailable")
def an_api_behind_a_gateway_that_does_not_reach_it(world: World) -> None:
    world.api.answer_next(Answer(502), n=None)


@fault("unavailable")
def an_api_in_maintenance(world: World) -> None:
    world.api.answer_next(faults.unavailable(503, "60"), n=None)


@fault("server_error")
def an_api_with_an_error(world: World) -> None:
    world.api.answer_next(Answer(500), n=None)


# -- tests ----------------------------------------------------------------------------------------


def spellings(text: str) -> list[str]:
    """Return a secret in the spellings in which it must not be shown."""
    return [text, quote(text), base64.b64encode(text.encode()).decode(), json.dumps(text)[1:-1]]


@pytest.mark.parametrize(("plant", "code", "status"), FAULTS)
def test_a_planted_fault_is_found(world: World, plant: Plant, code: str, status: str) -> None:
    result = world.doctor(*(plant(world) or ()))
    assert code in result.codes(status), result.output
    found = next(each for each in result.checks if each["code"] == code)
    assert found["how"]
    assert found["next"]
    problems = result.codes(PROBLEM)
    assert result.status == (1 if problems else 0)
    assert result.document["ok"] is not bool(problems)
    assert sum(result.document["counts"].values()) == len(result.checks)
    if status == PROBLEM:
        assert set(problems) == {code}


@pytest.mark.unmeasured
@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize(("plant", "code", "status"), FAULTS)
def test_no_secret_is_in_any_rendering(
    world: World, plant: Plant, code: str, status: str, rendering: str
) -> None:
    result = world.run(rendering, *(plant(world) or ()))
    assert code in re.sub(r"\s+", "", result.output)
    hidden = [SECRET, WRONG, "other-secret", *world.auth.issued, "the-token-of-this-test"]
    for secret in hidden:
        for text in spellings(secret):
            assert text not in result.output, code
    if rendering == "json":
        json.loads(result.output)
    if rendering == "plain":
        assert "\x1b" not in result.output
        assert "\r" not in result.output


def test_every_text_can_be_found() -> None:
    # In the table above, or in a test of its own below.
    planted = {param.values[1] for param in FAULTS}
    own = {"out_of_time", "no_date", "no_api", "proxy_not_examined", "client_certificate_demanded"}
    own |= {"expired_certificate", "certificate_not_yet_valid", "self_signed", "wrong_host_name"}
    own |= {"bad_certificate", "skipped", "token_request_failed", "diagnosis_failed"}
    fine = {code for code, (status, *_) in TEXTS.items() if status == "ok"}
    assert TEXTS.keys() == planted | own | fine


def test_all_is_well(world: World) -> None:
    world.set(SCOPE="orders")
    result = world.doctor(f"{world.api.url}/v1/orders")
    assert result.status == 0
    assert set(result.codes()) <= {code for code, text in TEXTS.items() if text[0] == "ok"}
    assert len(world.auth.token_requests) == 1
    assert [seen.path for seen in world.api.requests] == ["/v1", "/v1/orders"]
    assert [seen.method for seen in world.api.requests] == ["GET", "GET"]


@pytest.mark.parametrize("status", [304, 400, 404, 405, 422])
def test_an_api_without_a_page_at_its_prefix_is_well(world: World, status: int) -> None:
    world.api.answer_next(Answer(status), n=None)
    result = world.doctor()
    assert result.status == 0
    assert result.codes()[-1] == "api_answers"


@pytest.mark.parametrize(
    ("names", "days", "code"),
    [
        (("as.example",), (-1, 30), "wrong_host_name"),
        (("127.0.0.2",), (-1, 30), "wrong_host_name"),
        ((), (-30, -1), "expired_certificate"),
        ((), (1, 30), "certificate_not_yet_valid"),
    ],
)
def test_a_certificate_that_does_not_fit_is_told(
    world: World, authority: Authority, names: tuple[str, ...], days: tuple[int, int], code: str
) -> None:
    auth = world.use_tls(authority.server(*names, days=days), authority.bundle)
    result = world.doctor()
    assert result.codes(PROBLEM) == [code]
    assert auth.token_requests == []
    assert "verify=" not in result.output


def test_a_self_signed_certificate_is_told(world: World, certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.self_signed.pair)
    world.use_tls(context, None)
    assert world.doctor().codes(PROBLEM) == ["self_signed"]


def test_a_good_certificate_is_accepted_also_through_a_proxy(
    world: World, authority: Authority
) -> None:
    world.use_tls(authority.server(), authority.bundle)
    assert "trusted" in world.doctor().codes("ok")
    proxy = world.proxy()
    result = world.doctor()
    assert result.status == 0
    assert "proxy_used" in result.codes("ok")
    assert [head.split()[0] for head in proxy.heads] == ["CONNECT", "CONNECT"]


def test_a_bundle_may_be_a_folder(world: World, authority: Authority) -> None:
    world.use_tls(authority.server(), os.path.dirname(authority.bundle))  # noqa: PTH120
    assert world.doctor().codes(PROBLEM) == ["unknown_ca"]  # its files have no names of hashes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_demand_for_a_client_certificate_is_told(
    world: World, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.server()
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.bundle)
    world.use_tls(context, authority.bundle)
    is_new = version is ssl.TLSVersion.TLSv1_3
    expected = "client_certificate_demanded" if is_new else "tls_failed"
    result = world.doctor()
    assert result.codes(PROBLEM) == [expected]
    assert "certificate of the client" in result.one(expected)["what" if is_new else "next"]


def test_a_certificate_with_another_fault_is_told(world: World, authority: Authority) -> None:
    class Broken(ssl.SSLCertVerificationError):
        verify_code, verify_message = 1, "unspecified"

    def fail(*_: object, **__: object) -> None:
        raise Broken(1, "no")

    world.use_tls(authority.server(), authority.bundle)
    world.replaced["ssl.SSLContext.wrap_socket"] = fail
    assert "bad_certificate" in world.doctor().codes(PROBLEM)


def test_at_most_one_token_request_is_sent(world: World) -> None:
    world.auth.answer_next(faults.unavailable(503, "0"), n=None)
    world.doctor()
    assert len(world.auth.token_requests) == 1
    world.auth.answer_normally()
    world.auth.forget()
    world.auth.token_lifetime = 0
    world.api.refuse_next(None)
    result = world.doctor(f"{world.api.url}/v1/orders")
    assert len(world.auth.token_requests) == 1
    assert result.codes(PROBLEM) == ["expired_token"]
    assert "expired" in result.checks[-1]["what"]


def test_a_refused_token_causes_no_other_token_request(world: World) -> None:
    world.api.refuse_next(None)
    world.doctor(f"{world.api.url}/v1/orders")
    assert len(world.auth.token_requests) == 1
    assert len(world.api.requests) == 2


def test_methods_are_never_walked_through(world: World) -> None:
    world.set(CLIENT_SECRET=WRONG)
    result = world.doctor()
    assert "--try client_secret_post" in result.one("wrong_secret")["next"]
    assert len(world.auth.token_requests) == 1
    assert [seen.method for seen in world.auth.requests if "well-known" in seen.path] == ["GET"]
    assert all(
        "Authorization" not in seen.headers
        for seen in world.auth.requests
        if "well-known" in seen.path
    )


def test_another_method_is_tried_once_and_only_after_a_refusal(world: World) -> None:
    world.doctor("--try", "client_secret_post")
    assert len(world.auth.token_requests) == 1
    world.auth.add_client("my-client", SECRET, method="client_secret_post")
    world.auth.forget()
    result = world.doctor("--try", "client_secret_post")
    assert len(world.auth.token_requests) == 2
    assert "OAUTH_CLIENT_AUTH=client_secret_post" in result.one("method_not_accepted")["next"]
    assert "api_answers" in result.codes("ok")


def test_the_same_method_is_not_tried_again(world: World) -> None:
    world.set(CLIENT_SECRET=WRONG)
    result = world.doctor("--try", "client_secret_basic")
    assert result.codes(PROBLEM) == ["wrong_secret"]
    assert len(world.auth.token_requests) == 1


def test_what_another_method_cannot_end_is_told_as_it_is(world: World) -> None:
    world.auth.refuse_next(None, error="invalid_request", status=400)
    result = world.doctor("--try", "client_secret_post")
    assert result.codes(PROBLEM) == ["request_refused"]
    assert len(world.auth.token_requests) == 2


def test_a_fault_of_the_diagnosis_is_told_without_its_message(world: World) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    world.replaced["oauthcc.cli.doctor.token_contents._check_scope"] = fail
    result = world.doctor()
    assert result.codes(PROBLEM) == ["diagnosis_failed"]
    assert "RuntimeError, test_doctor.py" in result.one("diagnosis_failed")["how"]
    assert SECRET not in result.output


def test_nothing_is_well_after_an_interruption(world: World) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    world.replaced["oauthcc.cli.doctor.token_contents._check_scope"] = interrupt
    result = world.run("plain")
    assert result.status != 0
    assert "All is well" not in result.output


def test_a_method_that_cannot_be_tried_is_told(world: World) -> None:
    world.set(CLIENT_SECRET="short")
    result = world.doctor("--try", "client_secret_jwt")
    assert result.codes(PROBLEM) == ["bad_configuration", "wrong_secret"]


def test_metadata_that_hangs_is_not_waited_for(world: World) -> None:
    world.set(CLIENT_SECRET=WRONG)
    world.auth.answer_next(world.hang(), n=None, path="/.well-known")
    assert world.doctor().codes(PROBLEM) == ["wrong_secret"]
    world.auth.answer_normally()
    world.replaced["oauthcc.cli.doctor.token_request.read_json"] = world.sleep()
    assert world.doctor().codes(PROBLEM) == ["wrong_secret"]


def test_a_method_that_no_variable_can_name_is_no_value_for_one(world: World) -> None:
    world.auth.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    world.auth.refuse_next(None)
    advice = world.doctor().one("method_not_accepted")["next"]
    assert "private_key_jwt" in advice
    assert "OAUTH_CLIENT_AUTH" not in advice


def test_the_method_that_an_answer_names_is_the_advice(world: World) -> None:
    said = "This client must use the private_key_jwt token_endpoint_auth_method."
    refuse(world, 401, "invalid_client", said)  # as Okta for its own APIs
    metadata(world, 404)
    advice = world.doctor().one("method_not_accepted")["next"]
    assert "private_key_jwt" in advice
    assert "client_secret_post" not in advice


def test_metadata_of_another_endpoint_is_not_believed(world: World) -> None:
    world.set(CLIENT_SECRET=WRONG)
    world.auth.metadata = {
        "token_endpoint": "https://as.example/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }
    assert world.doctor().codes(PROBLEM) == ["wrong_secret"]


def test_the_issuer_is_used_and_its_other_origin_looked_at(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    with world.stack.enter_context(ProtectedAPI(world.auth, serve_token_endpoint=True)) as other:
        world.auth.metadata = {"token_endpoint": other.token_url}
        result = world.doctor()
    assert result.status == 0
    assert [each["name"] for each in result.checks].count(f"TCP to 127.0.0.1:{other.port}") == 1


def test_metadata_without_methods_says_nothing(world: World) -> None:
    world.set(TOKEN_URL=None, ISSUER=world.auth.issuer)
    world.auth.metadata = {"token_endpoint_auth_methods_supported": OMIT}
    assert world.doctor().status == 0


def test_an_error_inside_of_the_request_is_told(world: World) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    world.replaced["oauthcc.token_request.endpoint.TokenEndpoint._attempt"] = fail
    result = world.doctor()
    assert result.codes(PROBLEM) == ["token_request_failed"]
    assert SECRET not in result.output


def test_the_time_of_all_steps_is_limited(world: World) -> None:
    world.patch.setattr(limits, "TOTAL", 0.3)
    world.auth.answer_next(world.hang(), n=None)
    result = world.doctor()
    assert "hanging" in result.codes(PROBLEM)
    assert result.codes()[-1] == "out_of_time"


def test_without_a_url_no_api_is_asked(world: World) -> None:
    world.set(API_URL=None)
    result = world.doctor()
    assert result.status == 0
    assert "OAUTH_API_URL" in result.one("no_api")["next"]
    result = world.doctor(f"{world.api.url}/orders")
    assert "api_answers" in result.codes("ok")


@pytest.mark.parametrize("scope", ["b,a", "b, a", ["b", "a"], "c b a"])
def test_a_scope_in_another_order_or_form_is_not_narrowed(world: World, scope: Any) -> None:
    world.set(SCOPE="a b")
    world.auth.token_fields = {"scope": scope}
    assert "scope_granted" in world.doctor().codes("ok")


def test_a_slash_at_the_end_makes_no_other_audience(world: World) -> None:
    world.set(AUDIENCE="https://orders.example")
    world.issue_jwt(aud="https://orders.example/")
    assert world.doctor().status == 0


@pytest.mark.parametrize("form", ["%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S"])
def test_a_date_without_a_zone_is_not_in_that_of_this_machine(world: World, form: str) -> None:
    world.patch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with_date(world, time.strftime(form, time.gmtime()))
        assert "clock_right" in world.doctor().codes("ok")
    finally:
        world.patch.delenv("TZ")
        time.tzset()


def test_a_date_that_no_clock_can_show_is_none(world: World) -> None:
    with_date(world, "Fri, 31 Dec 9999 23:59:59 -1200")
    assert "no_date" in world.doctor().codes("skipped")


def test_an_answer_without_a_date_says_nothing_of_the_clock(world: World) -> None:
    body = json.dumps({"access_token": "a-token-of-this-test", "token_type": "Bearer"})
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    world.auth.answer_next(faults.garbage((head + body).encode()), n=None)
    assert "no_date" in world.doctor().codes("skipped")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://127.0.0.1:3128"])
def test_what_is_not_looked_at_is_told(world: World, proxy: str) -> None:
    world.patch.setenv("all_proxy", proxy)
    world.set(TOKEN_URL="https://as.example/token")
    assert "proxy_not_examined" in world.doctor().codes("skipped")


def test_a_proxy_may_be_named_without_a_variable(world: World) -> None:
    proxy = url_of(world.closed())
    world.replaced["requests.utils.getproxies"] = lambda: {"https": proxy}
    world.set(TOKEN_URL="https://[::1]:444/token")
    assert "the environment" in world.doctor().one("dead_proxy")["how"]


def test_the_addresses_of_a_name_are_shown(world: World) -> None:
    world.set(TOKEN_URL=world.auth.token_url.replace("127.0.0.1", "localhost"))
    assert "127.0.0.1" in world.doctor().one("resolved")["what"]


def test_an_ipv6_address_is_put_in_brackets(world: World) -> None:
    proxy = world.proxy()
    world.set(TOKEN_URL="https://[::1]:1/token", API_URL=None)
    world.doctor()
    assert proxy.heads[0].startswith("CONNECT [::1]:1 ")


def test_a_proxy_beyond_this_machine_is_avoided_for_loopback(world: World) -> None:
    world.patch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert world.doctor().status == 0


def test_the_advice_names_the_keys_of_a_profile(world: World) -> None:
    (world.folder / "oauthcc").mkdir()
    path = world.folder / "oauthcc" / "profiles.ini"
    path.write_text(f"[orders]\ntoken_url = {world.auth.token_url}\nclient_id = my-client\n")
    result = world.doctor("--profile", "orders")
    assert "client_secret=" in result.one("missing_variable")["next"]
    (world.folder / "secret").write_text(WRONG)
    path.write_text(path.read_text() + f"client_secret_file = {world.folder}/secret\n")
    result = world.doctor("--profile", "orders")
    assert "client_secret_file" in result.one("wrong_secret")["next"]
    assert result.document["configuration"]["profile"] == "orders"


def test_options_win_and_the_advice_names_them(world: World) -> None:
    (world.folder / "secret").write_text(WRONG)
    arguments = ["--token-url", world.auth.token_url, "--resource", "https://a.example b"]
    arguments += ["--client-secret-file", str(world.folder / "secret")]
    result = world.doctor(*arguments, "--api-url", world.api.url)
    assert "--client-secret-file" in result.one("wrong_secret")["next"]
    configuration = result.document["configuration"]
    assert configuration["resource"] == "https://a.example b"
    assert configuration["api_url"] == world.api.url
    assert configuration["client_secret"] == "from --client-secret-file"


def test_a_typed_secret_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oauthcc.cli.parameters._ask_secret", lambda: WRONG)
    result = world.doctor("--ask-secret")
    assert "the secret that you typed" in result.one("wrong_secret")["next"]


def test_a_client_without_a_secret_needs_none(world: World) -> None:
    world.set(CLIENT_SECRET=None, CLIENT_AUTH="none", API_URL=None)
    world.auth.add_client("my-client")
    result = world.doctor()
    assert result.status == 0
    assert result.document["configuration"]["client_secret"] is None


@pytest.mark.parametrize(
    "arguments",
    [("--try", "none"), ("api.example",), ("https://api.example", "more"), ("--unknown",)],
)
def test_wrong_usage_ends_with_2(world: World, arguments: tuple[str, ...]) -> None:
    result = world.doctor(*arguments)
    assert result.status == 2
    assert result.output == ""
    assert world.auth.requests == []


def test_texts_of_servers_are_shown_literally_and_cannot_control_a_terminal(world: World) -> None:
    said = "[bold]\x1b[31m{answer}\u202e :smile:" + "long " * 200
    answer = json_answer({"error": "invalid_request", "error_description": said}, 400)
    world.auth.answer_next(answer, n=None)
    challenge = 'Bearer error="invalid_token", error_description="[red]\x9b{answer}"'
    terminal = world.run("terminal").output
    assert "[bold]" in terminal
    assert "{answer}" in terminal
    assert "\x1b[31m" not in terminal
    assert "\u202e" not in terminal
    world.auth.answer_normally()
    world.api.refuse_next(None, headers={"WWW-Authenticate": challenge})
    plain = world.run("plain").output
    assert "[red]" in plain
    assert "\x9b" not in plain


@pytest.mark.parametrize("server", ["auth", "api"])
def test_a_media_type_shows_no_secret(world: World, server: str) -> None:
    hidden = SECRET.encode().hex()
    getattr(world, server).answer_next((401, {"Content-Type": f"text/{hidden}"}, b""), n=None)
    assert hidden not in world.doctor().output


def test_long_texts_are_cut(world: World) -> None:
    world.set(CLIENT_ID="x" * 2000)
    assert "[...]" in world.doctor().one("configured")["what"]


@pytest.mark.parametrize("claims", [{}, {"aud": ["a"], "exp": "soon", "nbf": 1, "iat": -1}])
def test_unusual_claims_are_no_fault(world: World, claims: dict[str, Any]) -> None:
    world.issue_jwt(**claims)
    result = world.doctor()
    assert result.status == 0
    assert "not verified" in result.one("claims")["what"]


def test_no_colour_is_written_if_it_is_not_wanted(world: World) -> None:
    coloured = world.run("terminal").output
    assert "\x1b[32m" in coloured
    assert "All is well" in coloured


def test_a_pipe_gets_plain_lines_also_if_colour_is_forced(world: World) -> None:
    world.patch.setenv("FORCE_COLOR", "1")
    output = world.run("plain").output
    assert "\x1b" not in output
    assert output.splitlines()[0].startswith("ok       configuration: The client my-client at")


def in_process_of_its_own(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oauthcc", "doctor", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_a_process_of_its_own_says_the_same(world: World) -> None:
    well = in_process_of_its_own(env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (well.returncode, well.stderr) == (0, "")
    assert "All is well" in well.stdout
    world.set(SCOPES="a", CLIENT_SECRET="another\n")
    wrong = in_process_of_its_own("--json")
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert json.loads(wrong.stdout)["counts"]["problem"] == 1
    assert in_process_of_its_own("--try").returncode == 2


def test_a_pseudo_terminal_shows_a_checklist(world: World) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "oauthcc", "doctor"]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written: list[bytes] = []
    read_all(ours, written)
    os.close(ours)
    assert process.wait(30) == 0
    output = b"".join(written).decode()
    assert "token request ..." in output
    assert "\x1b[32m" not in output
    assert "All is well" in output


@pytest.mark.parametrize("arguments", [(), ("--json",)])
@pytest.mark.parametrize(
    ("place", "reason"), [("/dev/full", "No space left on device"), ("&-", "it is closed")]
)
def test_a_standard_output_that_cannot_be_written_is_told_in_one_line(
    world: World, arguments: tuple[str, ...], place: str, reason: str
) -> None:
    command = shlex.join([sys.executable, "-m", "oauthcc", "doctor", *arguments])
    run = subprocess.run(
        f"{command} >{place}", shell=True, capture_output=True, text=True, timeout=60, check=False
    )
    said = f"oauthcc: standard output cannot be written: {reason}.\n"
    assert (run.returncode, run.stderr) == (1, said)


@pytest.mark.parametrize("rendering", ["json", "plain"])
def test_a_standard_output_that_breaks_ends_the_command(
    world: World, monkeypatch: pytest.MonkeyPatch, rendering: str
) -> None:
    options = ["--json"] if rendering == "json" else []
    for stream in (None, BrokenStream(28), BrokenStream(32)):
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises((SystemExit, BrokenPipeError)):
            app(["doctor", *options], standalone_mode=False)


class BrokenStream(io.StringIO):
    """A standard output whose writes fail with an error of this number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))
