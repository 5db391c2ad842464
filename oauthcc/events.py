"""The events of a session, which go to the log and to one observer.

Every event is a frozen value without secrets. The observer is called outside of all locks, after
the thing that the event reports is done. Exceptions in it are logged and ignored. The log is the
``oauthcc`` logger.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

log: logging.Logger = logging.getLogger("oauthcc")
log.addHandler(logging.NullHandler())

#: Why a token is needed.
Why = Literal["absent", "aging", "margin", "expired", "refused"]


@dataclass(frozen=True, slots=True)
class TokenObtained:
    """A new token was obtained.

    ``why`` is the reason for the fetch. ``seconds`` is the time that it took, and ``expires_in``
    the lifetime of the token in seconds (None: unknown). ``attempts`` is the number of token
    requests (0: the token was in the store). ``waiters`` is the number of callers that waited.
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


@dataclass(frozen=True, slots=True)
class RenewalFailed:
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


@dataclass(frozen=True, slots=True)
class RefusalRemembered:
    """A token request failed, and only a change of configuration can help.

    All callers get this error for ``seconds`` seconds, without another token request.
    """

    token_url: str
    error: Exception
    seconds: float
    level = logging.ERROR


@dataclass(frozen=True, slots=True)
class RequestReplayed:
    """A refused request was sent again. ``status`` is the status of the second answer."""

    method: str
    url: str
    refused_status: int
    status: int
    level = logging.INFO


@dataclass(frozen=True, slots=True)
class ReplayImpossible:
    """A refused request was not sent again, for the given reason."""

    method: str
    url: str
    refused_status: int
    reason: str
    level = logging.WARNING


@dataclass(frozen=True, slots=True)
class StoreBypassed:
    """The token store failed, and the session continued without it.

    ``operation`` is ``load``, ``save``, ``lock`` or ``unlock``. ``error`` is an error of this
    library or a TimeoutError. It says what the store raised and where, but not the message, which
    may quote the token.
    """

    operation: str
    error: Exception
    level = logging.WARNING


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


def emit(event: Event, observer: Observer | None) -> None:
    """Write an event to the log and call the observer.

    Exceptions in the observer are logged and not raised. An observer that uses the session gets no
    events for that use. Otherwise it could call itself without end.
    """
    log.log(event.level, "%r", event)
    if observer is None or observer in _active.get():
        return
    mark = _active.set((*_active.get(), observer))
    try:
        observer(event)
    except Exception:
        log.exception("the on_event observer raised an exception")
    finally:
        _active.reset(mark)
