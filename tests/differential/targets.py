"""The targets of the fuzz: a case is drawn, run with both sessions, and compared."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .cases import Case, draw
from .compare import first_difference
from .world import API, NOBODY, run_both


def difference(case: Case, api: Sequence[str] | None) -> str | None:
    """Return how our session differs from that of requests in a case, None if it does not."""
    plain, ours = run_both(case.lines, mixin=case.mixin, is_first=case.is_first, api=api)
    for number, (one, other) in enumerate(zip(plain, ours, strict=False)):
        if one != other:
            return first_difference(one, other, f"step {number}")
    return None if len(plain) == len(ours) else f"steps: {len(plain)} and {len(ours)}"


def shortened(case: Case, api: Sequence[str] | None) -> Case:
    """Return a case with fewer lines that differs too."""
    if case.mixin is not None and difference(case._replace(mixin=None), api) is not None:
        case = case._replace(mixin=None)
    number = len(case.lines)
    while number > 0:
        number = min(number, len(case.lines)) - 1
        shorter = case._replace(lines=case.lines[:number] + case.lines[number + 1 :])
        if difference(shorter, api) is not None:
            case = shorter
    return case


def check(rng: random.Random, api: Sequence[str] | None) -> None:
    """Raise AssertionError with the shortest text of a case in which the sessions differ."""
    case = draw(rng)
    found = difference(case, api)
    if found is None:
        return
    if difference(case, api) is None:
        found += "\n(Alone it does not differ. Begin with an earlier seed.)"
    else:
        case = shortened(case, api)
        found = difference(case, api)
    mixed = "" if case.mixin is None else f"# {case.mixin}, first: {case.is_first}\n"
    text = "\n".join(case.lines)
    raise AssertionError(f"{mixed}{text}\n{found}")


def with_a_token(rng: random.Random) -> None:
    """Compare a session that sends its token with one that has none."""
    check(rng, API)


def without_a_token(rng: random.Random) -> None:
    """Compare a session outside of its API, in which everything must be equal."""
    check(rng, NOBODY)


TARGETS = (with_a_token, without_a_token)
