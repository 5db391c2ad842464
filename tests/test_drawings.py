"""The page on one request: its drawings are what the script makes, its numbers the code's."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs import drawings
from oauthcc.tokens import renewal

from .scripts import ROOT
from .test_documentation import rows

PAGE = (ROOT / "docs" / "one-request.md").read_text(encoding="utf-8")
FILES = drawings.files()
SVG = "{http://www.w3.org/2000/svg}"
UNITS = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "%": 0.01,
    "KiB": 1024.0,
    "MiB": 1024.0 * 1024.0,
}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(?: (seconds?|minutes?|hours?|%|KiB|MiB))?")
#: Numbers of the code that are no limit of a call or a token request.
IN_NO_TABLE = {
    "oauthcc.clock.SKEW",  # between the clocks of two machines
    "oauthcc.stores.file.DRAFT_AGE",  # files that nobody needs are removed
    "oauthcc.stores.file.TOKEN_AGE",
    "oauthcc.stores.file.POLL_FIRST",  # inside the wait for a lock
    "oauthcc.stores.file.POLL_MAX",
    "oauthcc.stores.redis.POLL_FIRST",
    "oauthcc.stores.redis.POLL_MAX",
    "oauthcc.stores.derived_keys.POLL_FIRST",
    "oauthcc.stores.derived_keys.POLL_MAX",
    "oauthcc.stores.redis.RELEASE_PAUSE",  # nobody waits for it
    "oauthcc.stores.redis.UNKNOWN_TTL",
    "oauthcc.stores.redis.MAX_TTL",
    "oauthcc.token_request.response.MAX_RETRY_AFTER",  # what an error says; the pause is shorter
    "oauthcc.tokens.unshared.REPLACED_WITHIN",  # when to warn
    "oauthcc.tokens.unshared.UNKNOWN_LIFETIME",
}

#: The constants behind each row of the tables, in their order.
CONSTANTS = (
    "tokens.renewal.TOTAL_BUDGET",
    "tokens.renewal.WAIT_FOR_BETTER",
    "tokens.renewal.MARGIN_SHARE tokens.renewal.MARGIN_SECONDS",
    "tokens.renewal.WAIT_FOR_OTHER",
    "tokens.renewal.WAIT_FOR_OTHER",
    "api_request.answer_body.RELEASE_LIMIT api_request.answer_body.RELEASE_SECONDS",
    "client_auth.certificate.PATIENCE",
    "token_request.transport.CONNECT_TIMEOUT",
    "token_request.transport.READ_TIMEOUT",
    "tokens.renewal.TOTAL_BUDGET",
    "tokens.renewal.EARLY_BUDGET",
    "tokens.fetcher.ATTEMPTS",
    "token_request.endpoint.MAX_PAUSE",
    "token_request.response.MAX_BYTES",
    "tokens.renewal.FIRST_PAUSE tokens.renewal.LONGEST_PAUSE_OUTAGE",
    "tokens.renewal.FIRST_PAUSE tokens.renewal.LONGEST_PAUSE",
    "tokens.renewal.FIRST_PAUSE_EARLY tokens.renewal.LONGEST_PAUSE",
    "tokens.renewal.RETRY_AFTER_MAX",
    "tokens.state.CHECK_PAUSE",
    "tokens.renewal.FIRST_PAUSE tokens.renewal.LONGEST_PAUSE",
    "tokens.renewal.REFUSED_AT_ONCE tokens.renewal.REFUSED_EVERY",
    "tokens.state.SILENCE",
    "stores.guarded.LIMIT",
    "stores.calls.PAUSE_FIRST stores.calls.PAUSE_MAX",
    "stores.guarded.SAVE_PATIENCE",
    "tokens.fetcher.LOCK_PATIENCE",
    "stores.guarded.LOOK_EVERY",
    "stores.derived_keys.PATIENCE",
    "stores.redis.LEASE",
    "token_request.discovery.MAX_AGE",
    "token_request.discovery.PAUSE",
)
LIMITS = [row[1] for row in rows(PAGE, 2)]


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", FILES)
def test_a_drawing_of_the_repository_is_what_the_script_makes(name: str) -> None:
    assert (drawings.IMAGES / name).read_text(encoding="utf-8") == FILES[name]


def test_every_drawing_is_shown_on_the_page_in_both_themes() -> None:
    dark = re.findall(r'\(prefers-color-scheme: dark\)" srcset="images/([^"]+-dark\.svg)"', PAGE)
    light = re.findall(r'<img src="images/([^"]+-light\.svg)"', PAGE)
    assert sorted(dark + light) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_drawing_has_a_title_and_a_description_and_loads_nothing(name: str) -> None:
    tree = ET.fromstring(FILES[name])
    for part in ("title", "desc"):
        element = tree.find(f"{SVG}{part}")
        assert element is not None
        assert element.text
    assert not re.search(r"url\(|href=|@import|@font-face|<script", FILES[name])


def test_no_text_of_a_drawing_is_too_small_to_be_read_on_a_telephone() -> None:
    smallest = min(int(size) for svg in FILES.values() for size in re.findall(r'-size="(\d+)', svg))
    assert smallest * 360 / drawings.WIDTH >= 9


def test_the_drawing_of_the_renewal_has_the_numbers_of_the_policy() -> None:
    shown = texts(FILES["renewal-light.svg"])
    assert {"0 s", "60 s", "80 s", "90 s", "100 s", "≤ 2 s", "≤ 60 s"} <= set(shown)
    assert "59:50" in " ".join(shown)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WAIT_FOR_BETTER", 3.0, "≤ 3 s"),
        ("TOTAL_BUDGET", 50.0, "≤ 50 s"),
        ("MARGIN_SECONDS", 20.0, "200 s"),
        ("MARGIN_SHARE", 0.2, "40 s"),
    ],
)
def test_the_drawing_of_the_renewal_changes_with_the_policy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, expected: str
) -> None:
    assert expected not in texts(FILES["renewal-light.svg"])
    monkeypatch.setattr(renewal, name, value)
    assert expected in texts(drawings.files()["renewal-light.svg"])


def test_every_row_of_the_tables_is_compared_with_the_code() -> None:
    assert len(LIMITS) == len(CONSTANTS)


@pytest.mark.parametrize(("names", "text"), [*zip(CONSTANTS, LIMITS, strict=False)])
def test_a_row_of_the_tables_has_the_numbers_of_the_code(names: str, text: str) -> None:
    values: set[float] = set()
    for module, _, name in (each.rpartition(".") for each in names.split()):
        value = getattr(importlib.import_module(f"oauthcc.{module}"), name)
        values |= set(value if isinstance(value, tuple) else (value,))
    shown = {
        round(float(number) * UNITS.get(unit.removesuffix("s"), 1.0), 6)
        for number, unit in QUANTITY.findall(text)
    }
    assert shown == values


def floats_of(path: Path) -> Iterator[str]:
    """Yield the names of the public constants of a module that are numbers of seconds or shares."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    values = importlib.import_module(module)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = ast.walk(node.targets[0]) if isinstance(node, ast.Assign) else ()
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        for name in names:
            if re.fullmatch("[A-Z][A-Z_]+", name) and isinstance(getattr(values, name), float):
                yield f"{module}.{name}"


def test_every_limit_of_the_code_is_in_a_table() -> None:
    named = {f"oauthcc.{name}" for names in CONSTANTS for name in names.split()}
    paths = [
        path
        for path in (ROOT / "oauthcc").rglob("*.py")
        if path.relative_to(ROOT).parts[1] not in {"cli", "testing"}
    ]
    found = {name for path in paths for name in floats_of(path)}
    assert found - named == IN_NO_TABLE
