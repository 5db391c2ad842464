"""Our session does what `requests.Session` does, in cases that are drawn from seeds.

``python -m tests.differential --seconds 600`` draws more of them. What is compared, and what
differs by design, is in tests/differential/compare.py.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from .differential.cases import Case
from .differential.targets import TARGETS, check, difference, shortened
from .differential.world import API, NOBODY
from .fuzz.__main__ import main

#: How many cases each part has. All of them take about 20 seconds of one processor.
CASES = 450
PARTS = 8


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    before = _variables()
    yield
    assert _variables() == before


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", [target.__name__ for target in TARGETS])
def test_a_session_does_what_that_of_requests_does(
    name: str, part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = {target.__name__: target for target in TARGETS if target.__name__ == name}
    arguments = ["--count", str(CASES), "--seed", str(1_000_000 * part)]
    assert main(arguments, targets=targets) == 0, capsys.readouterr().out


def _case(*lines: str) -> Case:
    return Case([*lines], mixin=None, is_first=False)


GET = "result = session.request('GET', 'https://api.example/v1', **kw)"


@pytest.mark.parametrize(
    "line",
    [
        "session.headers['X-Ours'] = '1'",
        "session.headers['Accept'] = Str('*/*')",
        "session.params['a'] = 'b'",
        "session.cookies.set('a', '1')",
        "session.verify = 1",
        "session.stream = 0",
        "session.proxies = OrderedDict()",
        "session.proxies = {'https': 'http://p.example'}",
        "session.hooks['response'].append(hook)",
        "session.max_redirects = 7",
        "session.trust_env = 1",
        "os.environ['HTTPS_PROXY'] = 'http://p.example'",
        "os.environ['A'] = ''",
        "kw['timeout'] = 1",
        "kw['allow_redirects'] = False",
        "kw['headers'] = {}",
        "kw['data'] = generated()",
        "kw['json'] = 1",
        "kw['params'] = {'a': ''}",
        "answers.append((404, {}, ''))",
        "answers.append((302, {'Location': '/x'}, ''))",
        "answers.append((200, {'Set-Cookie': 'a=b'}, ''))",
        "answers.append((200, {}, 'raise LookupError()'))",
        "patch(requests.sessions, 'merge_setting', by_wraps, noting)",
        "session.request = session.get = lambda *a, **k: None",
    ],
)
@pytest.mark.parametrize("api", [API, NOBODY])
def test_a_difference_of_one_line_is_found(line: str, api: tuple[str, ...]) -> None:
    assert difference(_case(line, GET), api) is None
    only_ours = f"if type(session).__name__ == 'ClientCredentialsSession': {line}"
    case = _case("session.stream = False", only_ours, "kw['stream'] = True", GET)
    assert difference(case, api) is not None
    assert shortened(case, api).lines[-2:] == [only_ours, GET]


def test_a_failure_names_the_shortest_case(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = "session.max_redirects = len(type(session).__name__)"
    case = _case("session.verify = False", planted, "kw = {}", GET)
    monkeypatch.setattr("tests.differential.targets.draw", lambda rng: case)
    with pytest.raises(AssertionError) as failure:
        check(random.Random(1), NOBODY)
    assert str(failure.value).startswith(f"{planted}\n{GET}\nat step")
