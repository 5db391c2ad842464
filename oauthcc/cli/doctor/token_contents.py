"""What is in a token response, and in the token if it is a JWT: scope, lifetime, clock, claims."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from ...access_token import Token
from ..claims import claims_of
from .findings import Checkup
from .token_request import TokenRequest

#: Seconds by which two clocks may differ. ``Date`` has no fractions, and an answer takes time.
CLOCK_TOLERANCE = 10.0
#: A lifetime of less is a warning, in seconds.
SHORT = 30.0
_YEAR = 366 * 86400
_SHOWN_CLAIMS = ("iss", "aud", "sub", "client_id", "azp", "scope", "scp", "exp", "nbf", "iat")
_TIMES = ("exp", "nbf", "iat")


def check_token(checkup: Checkup, request: TokenRequest, token: Token) -> dict[str, Any]:
    """Add the findings about a token; return its claims, none if it is no JWT."""
    _check_scope(checkup, request.scope, token.scope)
    _check_lifetime(checkup, token.lifetime)
    check_clock(checkup, request)
    return _check_claims(checkup, token.access_token, request)


def _check_scope(checkup: Checkup, asked: str | None, granted: str | None) -> None:
    checkup.begin("scope")
    # Some servers put commas between them, which may also belong to one.
    given = {*(granted or "").split(), *re.split(r"[\s,]+", granted or "")}
    missing = [each for each in (asked or "").split() if each not in given]
    values = {"asked": asked, "granted": granted or "none", "missing": " ".join(missing)}
    code = "scope_narrowed" if missing else "scope_granted"
    what = f"The token has the scope that was asked for: {granted}"
    if not asked:
        what = f"No scope was asked for, and the token has {granted or 'none'}"
    checkup.find(code, scope=what, **values)


def _check_lifetime(checkup: Checkup, seconds: float | None) -> None:
    checkup.begin("lifetime")
    if seconds is None:
        checkup.find("no_expires_in")
        return
    if seconds <= 0:
        code = "expired_token"
    elif seconds < SHORT:
        code = "short_lifetime"
    else:
        code = "long_lifetime" if seconds > _YEAR else "lifetime"
    checkup.find(code, seconds=f"{seconds:.0f}")


def check_clock(checkup: Checkup, request: TokenRequest) -> None:
    """Compare the clocks by the ``Date`` of the answer to the token request, if there is one."""
    checkup.begin("clock")
    headers: Mapping[str, str] = {} if request.answer is None else request.answer.headers
    theirs = _date(headers.get("Date", ""))
    if theirs is None:
        checkup.find("no_date")
        return
    ahead = theirs - request.answered_at
    if abs(ahead) <= CLOCK_TOLERANCE:
        checkup.find("clock_right", seconds=f"{CLOCK_TOLERANCE:.0f}")
        return
    direction = "ahead" if ahead > 0 else "behind"
    checkup.find(
        "clock_off",
        seconds=f"{abs(ahead):.0f}",
        direction=direction,
        theirs=_time(theirs),
        ours=_time(request.answered_at),
    )


def _check_claims(checkup: Checkup, access_token: str, request: TokenRequest) -> dict[str, Any]:
    checkup.begin("claims")
    claims = claims_of(access_token)
    if claims is None:
        checkup.find("no_jwt")
        return {}
    shown = [f"{name} {_shown(name, claims[name])}" for name in _SHOWN_CLAIMS if name in claims]
    checkup.find("claims", claims=", ".join(shown) or "None of the usual claims")
    now = time.time()
    values = {"now": _time(now)}
    exp = _seconds(claims.get("exp"))
    if exp is not None and exp < now:
        checkup.find("exp_contradicts_clock", claim=_time(exp), **values)
    for name in ("nbf", "iat"):
        begin = _seconds(claims.get(name))
        if begin is not None and begin > now + CLOCK_TOLERANCE:
            checkup.find("nbf_contradicts_clock", name=name, claim=_time(begin), **values)
            break
    params = request.session.tokens._config.params
    asked = [value for name, value in params if name in ("audience", "resource")]
    audiences = audiences_of(claims)
    is_asked = {each.rstrip("/") for each in asked} & {each.rstrip("/") for each in audiences}
    if asked and audiences and not is_asked:
        reason = f"Its claim aud is {', '.join(audiences)}, and {', '.join(asked)} was asked for."
        checkup.find("audience_mismatch", reason=reason)
    return claims


def audiences_of(claims: Mapping[str, Any]) -> list[str]:
    """Return the audiences of a JWT (RFC 7519 section 4.1.3), one or several."""
    found = claims.get("aud")
    several = found if isinstance(found, list) else [found]
    return [each for each in several if isinstance(each, str)]


def _shown(name: str, value: Any) -> str:
    seconds = _seconds(value) if name in _TIMES else None
    return str(value) if seconds is None else _time(seconds)


def _seconds(value: Any) -> float | None:
    """Return a NumericDate that can be shown, None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e11 else None


def _date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        # One without a zone is GMT too (RFC 9110 section 5.6.7), not the local time.
        zone = date.tzinfo or timezone.utc
        return date.replace(tzinfo=zone).astimezone(timezone.utc).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
