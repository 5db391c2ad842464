"""The fuzz targets hold for a few hundred inputs, and their runner reports what it finds."""

from __future__ import annotations

import random

import pytest

from .fuzz.__main__ import collect, fuzz, main

TARGETS = collect()


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", TARGETS)
def test_no_target_fails(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--count", "200"]) == 0, capsys.readouterr().out
    assert f"{name} " in capsys.readouterr().out


def test_the_runner_reports_a_failure_with_the_seed_that_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn: list[int] = []

    def planted(rng: random.Random) -> None:
        drawn.append(rng.randrange(100))
        assert drawn[-1] != 42, f"drew {drawn[-1]}"

    assert fuzz({"planted": planted}, seed=7, seconds=None, count=1000) == 1
    printed = capsys.readouterr().out
    assert "AssertionError: drew 42" in printed
    seed = int(printed.partition("--seed ")[2].split()[0])
    assert fuzz({"planted": planted}, seed=seed, seconds=None, count=1) == 1


def test_the_runner_ends_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz({"nothing": lambda rng: None}, seed=7, seconds=0.01, count=None) == 0
    assert "runs/s" in capsys.readouterr().out


def test_an_unknown_target_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no_such_target"])
    assert "no_such_target" in capsys.readouterr().err
