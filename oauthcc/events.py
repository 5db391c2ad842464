"""The events of a session, which go to the log and to one observer.

Every event is a frozen value without secrets. Its text (``str``) is a sentence, which is written to
the ``oauthcc`` logger. The observer is called outside of all locks, after the thing that the event
reports is done. Exceptions in it are logged and ignored.
"""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Callable, Hashable
from typing import Literal, NamedTuple, TypeAlias

from .errors import text_of
from .values import field, frozen, replace

#: It has no handler. So if a program does not configure logging, Python prints the warnings on
#: standard error, and they are seen.
log: logging.Logger = logging.getLogger("oauthcc")

#: The number of reasons for warnings that are remembered.
MAX_REASONS = 1024
_reasons: dict[Hashable, object] = {}

#: Why a token is needed.
Why = Literal["absent", "aging", "margin", "expired", "refused"]

_REASONS: dict[str, str] = {
    "aging": "renewed early",
    "margin": "the last one expires soon or was refused",
    "expired": "the last one has expired",
    "refused": "an API refused the last one",
}


class Client(NamedTuple):
    """What events and log lines say about a token source."""

    client_id: str
    scope: str | None
    #: The public URL of the token endpoint or the issuer.
    server: str = ""

    @property
    def host(self) -> str:
        """Return scheme and host of the server."""
        return _host(self.server)

    def __str__(self) -> str:
        scope = "without a scope" if self.scope is None else f"scope {self.scope!r}"
        return f"client {self.client_id!r}, {scope}"


@frozen
class _ClientEvent:
    """An event of one client. `emit` adds ``client_id`` and the requested ``scope``.

    Two events are equal if they report the same thing.
    """

    client_id: str = field(default="", kw_only=True, compare=False)
    scope: str | None = field(default=None, kw_only=True, compare=False)

    @property
    def _client(self) -> Client:
        return Client(self.client_id, self.scope)


@frozen
class TokenObtained(_ClientEvent):
    """A new token was obtained.

    ``why`` is the reason for the fetch. ``seconds`` is the time that the fetch took, and
    ``expires_in`` is the lifetime of the token in seconds (None: unknown). ``attempts`` is the
    number of token requests (0: the token was in the store). ``waiters`` is the number of callers
    that waited.
    """

    token_url: str
    why: Why
    seconds: float
    expires_in: float | None
    attempts: int
    waiters: int = 0
    level = logging.INFO

    @property
    def from_store(self) -> bool:
        """Return whether the token was in the store, because another session had fetched it."""
        return self.attempts == 0

    def __str__(self) -> str:
        lifetime = "its lifetime is unknown"
        if self.expires_in is not None:
            lifetime = f"valid for {duration(max(0.0, self.expires_in))}"
        if self.from_store:
            done, since = f"Found a token in the store for {self._client}", " since it was issued"
        else:
            done, since = f"Fetched a token for {self._client}, from {_host(self.token_url)}", ""
        repeated = f", with {self.attempts} token requests" if self.attempts > 1 else ""
        why = f"; {_REASONS[self.why]}" if self.why in _REASONS else ""
        return f"{done} in {duration(self.seconds)}{repeated} ({lifetime}{since}{why})"


@frozen
class RenewalFailed(_ClientEvent):
    """No new token could be obtained.

    ``usable`` is True if the current token can still be used. The next attempt is allowed after
    ``next_try_in`` seconds.
    """

    token_url: str
    why: Why
    error: Exception
    usable: bool
    next_try_in: float
    level = logging.WARNING

    def __str__(self) -> str:
        result = "the current one is still used" if self.usable else "requests raise this error"
        return (
            f"No token could be fetched for {self._client}, from {_host(self.token_url)}; {result},"
            f" and the next attempt is allowed {_when(self.next_try_in)}: {text_of(self.error)}"
        )


@frozen
class RefusalRemembered(_ClientEvent):
    """A token request failed, and only a change of configuration can help.

    For ``seconds`` seconds, callers without a usable token get this error, without another token
    request.
    """

    token_url: str
    error: Exception
    seconds: float
    level = logging.ERROR

    def __str__(self) -> str:
        return (
            f"Only a change of the configuration can help {self._client}, at"
            f" {_host(self.token_url)}; no token request is sent for {duration(self.seconds)}:"
            f" {text_of(self.error)}"
        )


@frozen
class RequestReplayed(_ClientEvent):
    """A refused request was sent again. ``status`` is the status of the second answer."""

    method: str
    url: str
    refused_status: int
    status: int
    level = logging.INFO

    def __str__(self) -> str:
        return (
            f"Sent {self.method} {self.url} again with another token ({self._client}): the first"
            f" answer was {self.refused_status}, the second {self.status}"
        )


@frozen
class ReplayImpossible(_ClientEvent):
    """A refused request was not sent again, for the given reason."""

    method: str
    url: str
    refused_status: int
    reason: str
    level = logging.WARNING

    def __str__(self) -> str:
        return (
            f"Returned the {self.refused_status} of {self.method} {self.url} ({self._client}): the"
            f" request cannot be sent again, because {self.reason}"
        )


@frozen
class StoreBypassed(_ClientEvent):
    """The token store failed, and the session continued without it.

    ``operation`` is ``load``, ``save``, ``lock`` or ``unlock``. ``error`` is an error of this
    library or a TimeoutError. It says what the store raised and where. It does not contain the
    message of the store, which may quote the token. ``place`` is the folder, or host and port, of
    the store, without a password. For other kinds of stores, it is the name of the class.
    """

    operation: str
    error: Exception
    place: str = ""
    level = logging.WARNING

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return (
            f"Continued without the token store{place} for {self._client}, because"
            f" {self.operation} failed: {text_of(self.error)}"
        )


Event: TypeAlias = (
    TokenObtained
    | RenewalFailed
    | RefusalRemembered
    | RequestReplayed
    | ReplayImpossible
    | StoreBypassed
)
Observer = Callable[[Event], object]


# The observers that are being called in this context.
_active: contextvars.ContextVar[tuple[Observer, ...]] = contextvars.ContextVar(
    "_active", default=()
)


def emit(event: Event, observer: Observer | None, client: Client | None = None) -> None:
    """Write an event to the log and call the observer.

    ``client`` is the one that the event is about. Exceptions in the observer are logged and not
    raised. An observer that uses the session gets no events for that use. Otherwise it could call
    itself without end.
    """
    if client is not None:
        event = replace(event, client_id=client.client_id, scope=client.scope)
    log.log(event.level, "%s", event)
    if observer is None or observer in _active.get():
        return
    mark = _active.set((*_active.get(), observer))
    try:
        observer(event)
    except Exception:
        log.exception("The on_event observer of %s raised an exception (ignored)", event._client)
    finally:
        _active.reset(mark)


def _when(seconds: float) -> str:
    return f"in {duration(seconds)}" if seconds > 0 else "now"


def is_first(reason: Hashable) -> bool:
    """Return whether a warning is the first one for its reason in this process.

    Sessions may be made for each call, so none of them can remember that. What is remembered is
    limited.
    """
    mine = object()
    # `setdefault` needs no lock: of all threads, one gets its own object back.
    first = _reasons.setdefault(reason, mine) is mine
    if len(_reasons) > MAX_REASONS:
        _reasons.clear()
    return first


def duration(seconds: float) -> str:
    """Return a number of seconds for people, such as ``0.2 s``, ``10 min`` or ``1.5 h``."""
    value, unit = round(seconds, 2), "s"
    for name, size in (("min", 60.0), ("h", 3600.0), ("d", 86400.0)):
        # "90 s" and "90 min", but "1 h".
        if seconds >= 1.95 * size or math.isclose(seconds, size, rel_tol=0.01):
            value, unit = round(seconds / size, 1), name
    return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"


def _host(url: str) -> str:
    """Return scheme and host of a public URL."""
    return "/".join(url.split("/")[:3])
