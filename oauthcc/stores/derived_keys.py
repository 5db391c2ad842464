"""Keys of shared stores, derived by one process for all processes of its user on this machine.

A derivation by scrypt takes a core for 50 ms or more. If sixteen processes that start together each
derived the same key, they would wait for that longer than for their token. So the first one derives
it and writes it into a file in memory (tmpfs), from which the others read it. The file ends with
the machine, and only processes of this user can open it, which can read the store's files too.
Without such memory, every process derives its keys.

A record is a key and a tag. Only those who know the secret can make the tag or recognize it. It is
made with scrypt too, at a sixteenth of the cost, because somebody who reads the file must not be
able to try secrets quickly.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..forks import importing

#: A folder in memory, or None. A plain folder of this name may be on a disk.
MEMORY = Path("/dev/shm") if os.path.ismount("/dev/shm") else None  # noqa: S108 - see `_opened`
#: Seconds for which a process waits for the derivation of another one, which may be frozen.
PATIENCE = 2.0
#: Seconds between two looks: at first, and at most.
POLL_FIRST, POLL_MAX = 0.004, 0.05
#: Bytes of a key and of a tag, and of the file when it is emptied.
SIZE, MOST = 32, 64 * 1024


def derived_once(
    client_id: str, tag_key: Callable[[], bytes], derive: Callable[[], bytes]
) -> bytes:
    """Return the key that ``derive`` returns, or that it has returned in another process.

    ``tag_key`` returns what stands for everything that the key is derived from.
    """
    with contextlib.suppress(OSError), _opened() as file:
        secret = tag_key()
        until, pause = time.monotonic() + PATIENCE, POLL_FIRST
        found = _find(file, secret)
        while found is None and not _lock(file, client_id) and time.monotonic() < until:
            time.sleep(pause)
            pause = min(1.25 * pause, POLL_MAX)
            found = _find(file, secret)
        found = found or _find(file, secret)  # it was written before the lock was acquired
        if found is None:
            found = derive()
            with contextlib.suppress(OSError):  # the memory is full
                size = os.fstat(file).st_size
                if size >= MOST or size % (2 * SIZE):  # full, or the last record is not whole
                    os.ftruncate(file, 0)
                os.write(file, found + hmac.digest(secret, found, "sha256"))
        return found
    return derive()


@contextmanager
def _opened() -> Iterator[int]:
    """Open the file of this user; raise OSError if there is none that others cannot read."""
    if MEMORY is None:
        raise FileNotFoundError
    path = MEMORY / f"oauthcc-{os.geteuid()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags, 0o600)
    try:
        facts = os.fstat(file)
        is_ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
        # With a second name, it is a file of another program that somebody has linked here.
        if not is_ours or facts.st_mode & 0o077 or facts.st_nlink > 1:
            raise PermissionError
        yield file
    finally:
        os.close(file)  # it also releases the lock


def _find(file: int, secret: bytes) -> bytes | None:
    content = os.pread(file, MOST, 0)
    for start in range(0, len(content) - 2 * SIZE + 1, 2 * SIZE):
        key, tag = content[start : start + SIZE], content[start + SIZE : start + 2 * SIZE]
        if hmac.compare_digest(tag, hmac.digest(secret, key, "sha256")):
            return key
    return None


def _lock(file: int, client_id: str) -> bool:
    """Return whether this process may derive; a lock for each client, so that others go on.

    Everybody can read the number of a lock, so it does not depend on the secret.
    """
    with importing:
        import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(client_id.encode()))
    except BlockingIOError:
        return False
    return True
