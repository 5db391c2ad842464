"""The way to a server: name resolution, proxy, TCP and TLS, each as one step.

Rule of this module: it uses the proxies and the CA bundle that requests would use, and sends
nothing but what a connection needs: no secret and no token.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from ...urls import Origin, is_on_this_machine, is_plain_on_loopback, origin_of, origin_text
from . import limits
from .findings import Checkup
from .limits import Deadline, Hanging

#: The codes of X509_V_ERR_... of OpenSSL.
_CERTIFICATE_FAULTS = {
    9: "certificate_not_yet_valid",
    10: "expired_certificate",
    18: "self_signed",
    19: "unknown_ca",
    20: "unknown_ca",
    21: "unknown_ca",
    62: "wrong_host_name",
    64: "wrong_host_name",
}
#: The beginnings of what OpenSSL says if no TLS comes back.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
_HANGS = (Hanging, TimeoutError)
_MAX_HEAD = 1 << 16


class Network:
    """The servers that were looked at, each once."""

    def __init__(self, checkup: Checkup, deadline: Deadline) -> None:
        self._checkup = checkup
        self._deadline = deadline
        self._seen: dict[Origin, bool] = {}

    def reaches(self, url: str, settings: Mapping[str, Any], setting: str) -> bool:
        """Look at the way to the server of a URL; return whether a request makes sense.

        ``settings`` are those of requests for the URL, with ``proxies`` and ``verify``.
        ``setting`` is the name of the one that contains the URL.
        """
        origin = cast("Origin", origin_of(url))  # all URLs were checked before
        if origin not in self._seen:
            way = _Way(self._checkup, self._deadline, origin, settings, setting)
            self._seen[origin] = way.is_open()
        return self._seen[origin]


class _Way:
    """The way to one server."""

    def __init__(
        self,
        checkup: Checkup,
        deadline: Deadline,
        origin: Origin,
        settings: Mapping[str, Any],
        setting: str,
    ) -> None:
        self._checkup = checkup
        self._deadline = deadline
        self._origin = origin
        self._setting = setting
        self._verify = settings.get("verify", True)
        self._place = f"{origin.host}:{origin.port}"
        self._proxy, self._variable = _proxy_for(origin, settings.get("proxies") or {})

    def is_open(self) -> bool:
        if self._proxy is None:
            return self._goes_directly()
        kind, _, rest = self._proxy.partition("://")
        kind = kind.lower()
        login, _, place = rest.rpartition("@")
        self._checkup.secrets += [login, *login.split(":")[1:], *unquote(login).split(":")[1:]]
        server = origin_of(f"http://{place}") if _is_readable(self._proxy) else None
        self._checkup.begin(f"proxy for {self._place}")
        if kind != "http":
            self._checkup.find("proxy_not_examined", proxy=f"{kind}://", variable=self._variable)
            return True
        if server is None:
            self._checkup.find("bad_proxy_url", variable=self._variable)
            return False
        return self._goes_through(server.host, server.port, origin_text(server))

    def _goes_directly(self) -> bool:
        host, port = self._origin.host, self._origin.port
        if not self._resolves(host):
            return False
        connection = self._connected(host, port)
        return connection is not None and self._speaks(connection)

    def _resolves(self, host: str) -> bool:
        self._checkup.begin(f"name of {host}")
        try:
            found = self._deadline.run(
                limits.NETWORK, lambda _: _addresses(host, self._origin.port)
            )
        except Hanging:
            self._checkup.find(
                "resolver_hanging", host=host, seconds=limits.NETWORK, setting=self._setting
            )
        except (OSError, UnicodeError) as error:
            fault = getattr(error, "strerror", None) or error
            self._checkup.find("unresolvable", host=host, error=fault, setting=self._setting)
        else:
            if found != [host]:  # else it is an address
                self._checkup.find("resolved", host=host, addresses=", ".join(found))
            return True
        return False

    def _connected(self, host: str, port: int) -> socket.socket | None:
        self._checkup.begin(f"TCP to {self._place}")
        values = {"place": self._place, "setting": self._setting, "seconds": limits.NETWORK}
        try:
            connection = self._connect(host, port)
        except _HANGS:
            self._checkup.find("hanging", question="a connection", **values)
        except OSError as error:
            refused = error.errno == errno.ECONNREFUSED
            code = "connection_refused" if refused else "unreachable"
            self._checkup.find(code, error=error.strerror or error, **values)
        else:
            self._checkup.find("connected", **values)
            return connection
        return None

    def _connect(self, host: str, port: int) -> socket.socket:
        return self._deadline.run(
            limits.NETWORK, lambda seconds: socket.create_connection((host, port), seconds)
        )

    def _goes_through(self, host: str, port: int, shown: str) -> bool:
        """Return whether the proxy connects to the server."""
        find, values = self._checkup.find, {"proxy": shown, "variable": self._variable}
        values["place"] = self._place
        try:
            self._deadline.run(limits.NETWORK, lambda _: _addresses(host, port))
        except Hanging:
            find("dead_proxy", fault="its name is not resolved in time", error="", **values)
            return False
        except (OSError, UnicodeError) as error:
            find("dead_proxy", fault="its name cannot be resolved", error=error, **values)
            return False
        try:
            connection = self._connect(host, port)
        except _HANGS:
            find("dead_proxy", fault="it does not answer a connection", error="", **values)
            return False
        except OSError as error:
            find("dead_proxy", fault="it cannot be connected to", error=error, **values)
            return False
        with connection:
            if self._origin.scheme == "https":
                return self._is_tunnelled(connection, values) and self._speaks(connection)
            find("proxy_named", **values)  # the request goes to the proxy as it is
            return True

    def _is_tunnelled(self, connection: socket.socket, values: dict[str, str]) -> bool:
        try:
            status = self._deadline.run(limits.NETWORK, lambda _: self._demand(connection))
        except _HANGS:
            fault, error = "it does not answer the demand to connect", ""
        except (OSError, ValueError) as raised:
            fault, error = "it does not speak HTTP", str(raised)
        else:
            if status == "200":
                self._checkup.find("proxy_used", **values)
                return True
            code = "proxy_login" if status == "407" else "proxy_cannot_connect"
            self._checkup.find(code, answer=status, **values)
            return False
        self._checkup.find("dead_proxy", fault=fault, error=error, **values)
        return False

    def _demand(self, connection: socket.socket) -> str:
        """Send a CONNECT (RFC 9110 section 9.3.6); return the status of the answer."""
        host = f"[{self._origin.host}]" if ":" in self._origin.host else self._origin.host
        target = f"{host}:{self._origin.port}"
        headers = {"Host": target, **HTTPAdapter().proxy_headers(self._proxy or "")}
        lines = [f"CONNECT {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
            piece = connection.recv(1)  # what follows belongs to TLS
            if not piece:
                raise ValueError("The connection was closed.")
            head += piece
        version, _, rest = head.decode("latin-1").partition(" ")
        if not version.startswith("HTTP/"):
            raise ValueError("The answer is not HTTP.")
        return rest[:3]

    def _speaks(self, connection: socket.socket) -> bool:
        """Return whether the server speaks TLS as it should; close the connection."""
        with connection:
            if self._origin.scheme == "http":
                return True
            self._checkup.begin(f"TLS of {self._origin.host}")
            bundle = DEFAULT_CA_BUNDLE_PATH if self._verify is True else str(self._verify)
            try:
                context = _context(bundle)
            except OSError as error:  # also ssl.SSLError
                fault = error.strerror or error
                self._checkup.find("bad_ca_bundle", bundle=bundle, error=fault)
                return False
            return self._is_trusted(connection, context, bundle)

    def _is_trusted(self, connection: socket.socket, context: ssl.SSLContext, bundle: str) -> bool:
        host, values = self._origin.host, {"host": self._origin.host, "setting": self._setting}
        values |= {
            "place": self._place,
            "bundle": bundle,
            "now": time.strftime("%Y-%m-%d %H:%M:%S"),
        }

        def shake_hands(seconds: float) -> str:
            connection.settimeout(seconds)
            with context.wrap_socket(connection, server_hostname=host) as secured:
                return secured.version() or "TLS"

        try:
            version = self._deadline.run(limits.NETWORK, shake_hands)
        except ssl.SSLCertVerificationError as error:
            code = _CERTIFICATE_FAULTS.get(error.verify_code, "bad_certificate")
            self._checkup.find(code, error=error.verify_message.rstrip("."), **values)
        except _HANGS:
            if not self._is_plain(values):
                values["seconds"] = str(limits.NETWORK)
                self._checkup.find("hanging", question="the TLS handshake", **values)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or str(error)
            if str(reason).startswith(_NOT_TLS):
                self._checkup.find("not_tls", error=f"TLS says: {reason}", **values)
            elif not self._is_plain(values):
                demands = "CERTIFICATE_REQUIRED" in str(reason)
                code = "client_certificate_demanded" if demands else "tls_failed"
                said = f"TLS says: {reason}" if demands else reason
                self._checkup.find(code, error=said, **values)
        else:
            self._checkup.find("trusted", version=version, **values)
            return True
        return False

    def _is_plain(self, values: Mapping[str, str]) -> bool:
        """Return whether the server answers plain http, and add that as a finding."""
        if self._proxy is not None:
            return False
        head = first_bytes(self._deadline, self._origin)
        is_plain = head.startswith(b"HTTP/") and b" 400 " not in head
        if is_plain:
            self._checkup.find("not_tls", error="It answered a request without TLS", **values)
        return is_plain


def first_bytes(deadline: Deadline, origin: Origin) -> bytes:
    """Return the beginning of the answer to a plain HEAD request, nothing if there is none."""

    def ask(seconds: float) -> bytes:
        with socket.create_connection((origin.host, origin.port), seconds) as connection:
            connection.sendall(f"HEAD / HTTP/1.0\r\nHost: {origin.host}\r\n\r\n".encode())
            return connection.recv(64)

    try:
        return deadline.run(limits.NETWORK / 2, ask)
    except (*_HANGS, OSError):
        return b""


def proxy_of(url: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of the text about a proxy that does not work."""
    proxy, variable = _proxy_for(cast("Origin", origin_of(url)), settings.get("proxies") or {})
    kind, _, rest = str(proxy).partition("://")
    place = rest.rpartition("@")[2]  # without a login
    fault = "no request reaches the server through it"
    return {"proxy": f"{kind}://{place}", "variable": variable, "fault": fault}


def why_broken(deadline: Deadline, url: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return a code and what was seen, for a server that closed the connection of a request."""
    origin = cast("Origin", origin_of(url))
    if _proxy_for(origin, settings.get("proxies") or {})[0] is not None:
        return "connection_broken", ""
    verify = settings.get("verify", True)

    def ask(seconds: float) -> None:
        context = _context(DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify))
        with (
            socket.create_connection((origin.host, origin.port), seconds) as connection,
            context.wrap_socket(connection, server_hostname=origin.host) as secured,
        ):
            # With TLS 1.3, a server refuses a client without a certificate after the handshake. If
            # something was sent, the connection might be reset before that is read.
            if origin.scheme == "https":
                secured.recv(1)

    try:
        deadline.run(limits.NETWORK / 2, ask)
    except ssl.SSLCertVerificationError as error:
        return "tls_expected", error.verify_message
    except (*_HANGS, OSError) as error:
        reason = getattr(error, "reason", None) or ""
        demands = "CERTIFICATE_REQUIRED" in reason
        return (
            ("client_certificate_demanded", f"TLS says: {reason}")
            if demands
            else ("connection_broken", "")
        )
    return "tls_expected" if origin.scheme == "http" else "connection_broken", ""


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [*dict.fromkeys(str(each[4][0]) for each in found)]


def _context(bundle: str) -> ssl.SSLContext:
    """Return what urllib3 would use with this bundle; raise OSError if it cannot be read."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    is_folder = os.path.isdir(bundle)  # noqa: PTH112 - as in requests
    context.load_verify_locations(**{"capath" if is_folder else "cafile": bundle})
    return context


def _proxy_for(origin: Origin, proxies: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the proxy that requests uses for a server, with the variable that names it."""
    url = f"{origin.scheme}://{origin.host}:{origin.port}/"
    proxy = select_proxy(url, proxies)
    # The library avoids this one, which could read the token.
    if not proxy or (is_plain_on_loopback(origin) and not is_on_this_machine(proxy)):
        return None, ""
    names = (f"{origin.scheme}_proxy", "all_proxy")
    variables = [v for name in names for v in (name, name.upper()) if os.environ.get(v) == proxy]
    named = variables[0] if variables else "the environment"
    return proxy if "://" in proxy else f"http://{proxy}", named


def _is_readable(url: str) -> bool:
    try:
        parse_url(url)
    except LocationParseError:
        return False
    return True
