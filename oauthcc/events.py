"""What happened, told to one observer and to the log.

Every event is a frozen value without secrets. The observer is called outside all locks, after what
it tells is done; what it raises is logged and never felt. The log is the ``oauthcc`` logger.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

log: logging.Logger = logging.getLogger("oauthcc")
log.addHandler(logging.NullHandler())

Why = Literal["absent", "aging", "margin", "expired", "refused"]


@dataclass(frozen=True, slots=True)
class TokenObtained:
    """Tell that a new token is there.

    ``why`` it was needed, ``seconds`` it took, ``expires_in`` seconds it lives (None: unknown),
    ``attempts`` at the token endpoint (0: it was in the store), ``waiters``: how many callers
    waited for it.
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
        """Say whether the token was in the store: somebody else had fetched it."""
        return self.attempts == 0

    def seen_by(self, waiters: int) -> TokenObtained:
        """Return the same event with the number of those who waited."""
        return replace(self, waiters=waiters)


@dataclass(frozen=True, slots=True)
class RenewalFailed:
    """Tell that no new token could be had; ``usable`` says that the current one still serves."""

    token_url: str
    why: Why
    error: Exception
    usable: bool
    next_try_in: float
    level = logging.WARNING


@dataclass(frozen=True, slots=True)
class RefusalRemembered:
    """Tell that callers get this error for ``seconds`` seconds without a further request."""

    token_url: str
    error: Exception
    seconds: float
    level = logging.ERROR


@dataclass(frozen=True, slots=True)
class RequestReplayed:
    """Tell that a refused request was sent once more, and with what result."""

    method: str
    url: str
    refused_status: int
    status: int
    level = logging.INFO


@dataclass(frozen=True, slots=True)
class ReplayImpossible:
    """Tell that a refused request was not sent once more, and why."""

    method: str
    url: str
    refused_status: int
    reason: str
    level = logging.WARNING


@dataclass(frozen=True, slots=True)
class StoreBypassed:
    """Tell that the token store failed and that the session went on without it."""

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


# The observers that the current context is called by.
_told: contextvars.ContextVar[tuple[Observer, ...]] = contextvars.ContextVar("_told", default=())


def tell(event: Event, observer: Observer | None) -> None:
    """Log an event and hand it to the observer, whose errors are logged and not raised.

    An observer that uses the session is not told of what that brings about, or it might never end.
    """
    log.log(event.level, "%r", event)
    if observer is None or observer in _told.get():
        return
    mark = _told.set((*_told.get(), observer))
    try:
        observer(event)
    except Exception:
        log.exception("the on_event observer raised an error")
    finally:
        _told.reset(mark)
