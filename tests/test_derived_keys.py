"""One process derives a key for all processes of its user, and nobody else can use what it left."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oauthcc.stores import FileStore, derived_keys
from oauthcc.stores.derived_keys import SIZE, derived_once

from .quick_scrypt import quick_scrypt
from .store_child import ROOT
from .store_world import World, world

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX has such locks")
__all__ = ["world"]

CLIENT, SECRET = "my-id", b"s" * SIZE

CHILD = """
import os, sys
from pathlib import Path
from oauthcc.stores import derived_keys

def write(line):
    print(line, flush=True)

def derive():
    write("derives")
    sys.stdin.readline()
    return os.urandom(32)

waits = []
sleep = derived_keys.time.sleep

def note(seconds):
    if not waits:
        waits.append(1)
        write("waits")
    sleep(seconds)

derived_keys.MEMORY, derived_keys.PATIENCE = Path(sys.argv[1]), 60.0
derived_keys.time.sleep = note
write(derived_keys.derived_once("my-id", lambda: b"s" * 32, derive).hex())
"""


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is used as the one in memory."""
    monkeypatch.setattr(derived_keys, "MEMORY", tmp_path)
    return tmp_path


@pytest.fixture
def child(memory: Path) -> Iterator[Callable[[], Any]]:
    """Return what starts a process that derives the key of `SECRET`."""
    with contextlib.ExitStack() as ends:

        def start() -> Any:
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = ends.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CHILD, memory], cwd=ROOT, text=True, **pipes
                )
            )
            ends.callback(process.kill)
            return process

        yield start


def line(process: Any) -> str:
    """Return the next line of a process."""
    return str(process.stdout.readline()).strip()


def go_on(process: Any) -> None:
    """Let the process end its derivation."""
    process.stdin.write("\n")
    process.stdin.flush()


class Derivation:
    """A derivation that is counted."""

    def __init__(self, key: bytes = b"k" * SIZE) -> None:
        self.key, self.count = key, 0

    def __call__(self) -> bytes:
        self.count += 1
        return self.key


def the_file(memory: Path) -> Path:
    return memory / f"oauthcc-{os.geteuid()}"


def is_shared(secret: bytes = SECRET) -> bool:
    """Return whether a key is found that another process has left."""
    derive = Derivation()
    derived_once(CLIENT, lambda: secret, derive)
    return derive.count == 0


# Processes that start together.


def test_processes_that_start_together_derive_a_key_once(child: Any) -> None:
    first = child()
    assert line(first) == "derives"
    others = [child() for _ in range(3)]
    assert [line(other) for other in others] == ["waits"] * 3
    go_on(first)
    key = line(first)
    assert [line(other) for other in others] == [key] * 3
    assert len(bytes.fromhex(key)) == SIZE


def test_another_process_derives_the_key_if_the_first_one_is_killed(child: Any) -> None:
    first = child()
    assert line(first) == "derives"
    others = [child(), child()]
    assert [line(other) for other in others] == ["waits"] * 2
    first.kill()
    with contextlib.ExitStack() as stack:
        for other in others:
            stack.callback(other.kill)
            go_on(other)
        lines = [line(other) for other in others]
        keys = {
            line(other) if each == "derives" else each
            for other, each in zip(others, lines, strict=True)
        }
    assert lines.count("derives") == 1
    assert len(keys) == 1


def test_a_process_does_not_wait_for_long_for_one_that_is_frozen(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line(child()) == "derives"
    now, pauses = [100.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert derived_once(CLIENT, lambda: SECRET, derive := Derivation()) == derive.key
    assert derive.count == 1
    assert now[0] - 100 == pytest.approx(derived_keys.PATIENCE, abs=derived_keys.POLL_MAX)
    assert max(pauses) == derived_keys.POLL_MAX


def test_a_process_does_not_wait_for_the_derivation_of_another_client(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line(child()) == "derives"
    monkeypatch.setattr(time, "sleep", None)
    assert derived_once("another-id", lambda: b"o" * SIZE, derive := Derivation()) == derive.key


def test_a_key_that_was_written_before_the_lock_was_acquired_is_used(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = derived_keys._lock

    def lock_late(file: int, client_id: str) -> bool:
        monkeypatch.undo()
        monkeypatch.setattr(derived_keys, "MEMORY", memory)
        derived_once(CLIENT, lambda: SECRET, Derivation())
        return real(file, client_id)

    monkeypatch.setattr(derived_keys, "_lock", lock_late)
    assert is_shared()


def test_sessions_with_the_same_configuration_derive_their_key_once(
    memory: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivations = []

    def counted(*args: Any, n: int, **options: Any) -> bytes:
        if n == 2**14:
            derivations.append(args)
        return quick_scrypt(*args, n=n, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    store = FileStore(tmp_path / "tokens")
    tokens = {world.call(world.session(store)) for _ in range(3)}
    assert len(tokens) == len(derivations) == len(world.auth.token_requests) == 1
    world.call(world.session(store, scope="read"))
    assert len(derivations) == 2


# What is in the file, and who may use it.


def test_a_key_is_found_with_its_secret_only(memory: Path) -> None:
    assert not is_shared()
    assert is_shared()
    assert not is_shared(b"t" * SIZE)
    assert is_shared(b"t" * SIZE)
    assert SECRET not in the_file(memory).read_bytes()


def test_a_key_that_was_changed_is_not_used(memory: Path) -> None:
    assert not is_shared()
    content = bytearray(the_file(memory).read_bytes())
    content[0] ^= 1
    the_file(memory).write_bytes(content)
    assert not is_shared()


@pytest.mark.parametrize("left", [b"", b"x" * 63, b"x" * 65, b"\0" * 128])
def test_foreign_content_is_not_a_key(left: bytes, memory: Path) -> None:
    the_file(memory).write_bytes(left)
    the_file(memory).chmod(0o600)
    assert not is_shared()
    assert is_shared()  # it does not hide what is written after it


def test_the_file_does_not_grow_without_a_limit(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived_keys, "MOST", 4 * 2 * SIZE)
    for number in range(6):
        assert not is_shared(bytes([number] * SIZE))
    assert the_file(memory).stat().st_size == 2 * 2 * SIZE
    assert is_shared(bytes([5] * SIZE))


def test_only_this_user_can_read_the_file(memory: Path) -> None:
    assert not is_shared()
    assert the_file(memory).stat().st_mode & 0o777 == 0o600


def test_a_secret_is_tried_against_the_file_by_scrypt_only(
    memory: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scrypt(*_: Any, n: int, **__: Any) -> bytes:
        return n.to_bytes(SIZE, "big")

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    world.call(world.session(FileStore(tmp_path / "tokens")))
    content = the_file(memory).read_bytes()
    key, tag = content[:SIZE], content[SIZE:]
    assert tag == hmac.digest(scrypt(n=2**10), key, "sha256")


def others_can_read(path: Path) -> None:
    path.touch()
    path.chmod(0o644)


def is_a_link(path: Path) -> None:
    target = path.with_name("target")
    target.touch(0o600)
    path.symlink_to(target)


def is_a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def has_another_name(path: Path) -> None:
    path.touch(0o600)
    path.with_name("target").hardlink_to(path)


@pytest.mark.parametrize(
    "kind", [others_can_read, is_a_link, has_another_name, is_a_pipe, Path.mkdir]
)
def test_a_file_that_is_not_private_is_not_used(kind: Any, memory: Path) -> None:
    kind(the_file(memory))
    assert not is_shared()
    assert not is_shared()
    assert not any(path.is_file() and path.stat().st_size for path in memory.iterdir())


def test_a_file_of_another_user_is_not_used(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert not is_shared()
    assert not is_shared()


def test_without_memory_every_process_derives_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived_keys, "MEMORY", None)
    assert not is_shared()
    assert not is_shared()


def test_a_full_memory_costs_no_second_derivation(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    derived_once(CLIENT, lambda: SECRET, derive := Derivation())
    assert derive.count == 1
