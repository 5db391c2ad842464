"""The recipes of docs/testing.md: each section is a test file, which pytest runs in a new folder.

A block whose first line is a comment with a file name is a file of its own.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from oauthcc import fetch_token
from oauthcc.testing import Answer, AuthorizationServer, ProtectedAPI, faults

from .projects import Project
from .scripts import ROOT

FAULTS = "oauthcc.testing.faults"
PAGE = ROOT / "docs" / "testing.md"
BLOCK = re.compile(r"^```(?:python|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w.]+\.(?:py|ini))\n")
TEST = re.compile(r"^ *def (test_\w+)\(", re.MULTILINE)
PARAMETERS = re.compile(r'^@pytest.mark.parametrize\("\w+", (\[.*\])\)$', re.MULTILINE)


def sections(page: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the heading of each section with code, and the files that its blocks make."""
    for section in re.split(r"^## ", page, flags=re.MULTILINE):
        files: dict[str, str] = {}
        for code in BLOCK.findall(section):
            named = NAMED.match(code)
            name = named[1] if named else "test_recipe.py"
            files[name] = files.get(name, "") + code
        if files:
            yield section.partition("\n")[0], files


SECTIONS = dict(sections(PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_recipe_passes_as_it_stands(tmp_path: Path, heading: str) -> None:
    project, files = Project(tmp_path), SECTIONS[heading]
    for name, code in files.items():
        project.write(name, code)
    text = "".join(files.values())
    more = sum(len(eval(found)) - 1 for found in PARAMETERS.findall(text))
    # betamax 0.9 calls a function that Python 3.12 has deprecated.
    strict = ("-W", "error", "-W", "ignore:datetime.datetime.utcnow:DeprecationWarning")
    assert project.passes(*strict) == len(TEST.findall(text)) + more


@pytest.mark.parametrize(
    ("heading", "line", "instead"),
    [
        ("vcrpy", '    filter_headers=["authorization"],', ""),
        ("vcrpy", '    filter_post_data_parameters=["client_secret", "client_assertion"],', ""),
        ("vcrpy", "    before_record_response=hide_token,", ""),
        ("betamax", '    secret = list(request["headers"].get("Authorization"', "    secret = []"),
        ("betamax", "    secret += parse_qs(", ""),
        ("betamax", "        secret.append(json.loads(", "        pass"),
        ("betamax", '        response["headers"].pop("Content-Length", None)', ""),
    ],
)
def test_each_line_that_hides_something_is_needed(
    tmp_path: Path, heading: str, line: str, instead: str
) -> None:
    (code,) = SECTIONS[heading].values()
    without, count = re.subn(f"^{re.escape(line)}.*", instead, code, flags=re.MULTILINE)
    assert count == 1
    project = Project(tmp_path)
    project.write("test_recipe.py", without)
    assert re.search(r"\d failed", project.pytest("-q"))


def test_the_token_of_a_compressed_answer_is_hidden_too(
    auth: AuthorizationServer, tmp_path: Path
) -> None:
    (code,) = SECTIONS["vcrpy"].values()
    names: dict[str, Any] = {}
    exec(code, names)
    answer = {"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}
    body = gzip.compress(json.dumps(answer).encode())
    auth.answer_next(Answer(200, {"Content-Encoding": "gzip"}, body))
    client = auth.token_url, auth.client_id, auth.client_secret
    for text in ("the-token", "hidden"):  # the second one is replayed
        with names["recorder"].use_cassette(str(tmp_path / "cassette.yaml")):
            assert fetch_token(*client).access_token == text
    assert len(auth.token_requests) == 1


def test_a_recipe_that_fails_is_noticed(tmp_path: Path) -> None:
    page = dedent("""\
        # A page

        ```python
        def test_one(oauth_session): pass
        ```

        ## Without code

        ## Another section

        ```python
        # shop.py
        answer = 6
        ```

        ```python
        import shop
        ```

        ```python
        def test_two(): assert shop.answer == 7
        ```
        """)
    (one, first), (two, second) = sections(page)
    assert (one, list(first)) == ("# A page", ["test_recipe.py"])
    assert (two, list(second)) == ("Another section", ["shop.py", "test_recipe.py"])
    project = Project(tmp_path)
    for name, code in second.items():
        project.write(name, code)
    with pytest.raises(AssertionError, match="1 failed"):
        project.passes()


def test_the_page_has_a_recipe_for_each_of_these() -> None:
    text = " ".join("".join(files.values()) for files in SECTIONS.values())
    for package in ("responses", "requests_mock", "vcr", "betamax", "freezegun", "time_machine"):
        assert f"import {package}\n" in text, package
    for fixture in ("oauth_reset", "oauth_clock", "oauth_session", "mock_token_endpoint"):
        assert fixture in text, fixture


def test_every_name_in_the_tables_exists(auth: AuthorizationServer, api: ProtectedAPI) -> None:
    tables = "\n".join(line for line in PAGE.read_text("utf-8").splitlines() if line[:1] == "|")
    names = re.findall(r"\b(auth|server)\.(\w+)", tables)
    assert len(names) > 30
    assert [
        name for of, name in names if not hasattr({"auth": auth, "server": api}[of], name)
    ] == []
    called = re.findall(r"`(\w+)\(", tables.partition("| `html()`")[2])
    assert called
    made = {
        name for name, made in vars(faults).items() if getattr(made, "__module__", "") == FAULTS
    }
    public = {name for name in made if name.islower() and name[0] != "_"}
    assert {"html", *called} == public - {"as_outcome", "json_answer", "oauth_error"}
