"""Tokens in files, shared by the processes of one user on one machine.

Each key has two files, named after the hash of the key: ``.token``, which is always replaced as a
whole, and ``.lock``, which is empty and is never removed. The lock belongs to the kernel: it is
released as soon as its holder exits.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shlex
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..access_token import Token
from ..errors import ConfigurationError
from ..frames import hide_locals
from .base import (
    MAX_BYTES,
    BaseStore,
    Cipher,
    Saved,
    UntilSaved,
    decode,
    encode,
    is_outdated,
)

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Seconds between two attempts to get a lock that is held: at first, and at most.
POLL_FIRST, POLL_MAX = 0.05, 0.25
#: How often a waiter looks between two attempts whether a token was saved. A look costs a twentieth
#: of an attempt.
LOOKS = 8
#: Seconds after which a file that was not written again is removed: drafts of writers that were
#: killed, and tokens whose secret or scope is no longer in use.
DRAFT_AGE, TOKEN_AGE = 3600.0, 30 * 86400.0

_OWN_FILE = re.compile(r"[0-9a-f]{64}\.(?P<kind>token|[A-Za-z0-9_]+\.draft)")
# On Windows, owner and mode have no meaning; the folders of a user are private there.
_POSIX = os.name == "posix"
_READ = os.O_RDONLY | sum(
    getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
)


class FileStore(BaseStore):
    """A store that keeps tokens in files that only this user can read and write.

    ``folder`` is created when it is first needed. By default it is ``oauthcc`` in the user's cache
    folder. The folder must belong to this user, and no other user may be able to write in it.
    Otherwise, or if it is a symbolic link, ConfigurationError is raised. It should be on a local
    disk. ``cipher`` encrypts the tokens, for example ``cryptography.fernet.Fernet(key)``. Needs
    ``pip install "oauthcc[file]"``.

    Files have mode 0600 and folders 0700, whatever the umask is. A file is replaced in one step, so
    a reader never sees half a file. Files are not forced to the disk, because a token that is lost
    in a power cut costs one token request. Files that are damaged, foreign or readable by others
    count as absent.
    """

    @hide_locals
    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, cipher: Cipher | None = None
    ) -> None:
        _require("filelock")
        self._folder = _chosen(folder)
        self._cipher = cipher

    @hide_locals
    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, perhaps expired, or None."""
        if not _exists(self._folder):
            return None
        data = _private_content(self._path(key, "token"))
        return None if data is None else decode(data, self._cipher)

    @hide_locals
    def save(self, key: str, token: Token) -> None:
        """Replace the key's file in one step, unless the token in it was issued later.

        Raise OSError if the disk does not allow it.
        """
        data = encode(token, self._cipher)
        self._prepare()
        target = self._path(key, "token")
        descriptor, name = tempfile.mkstemp(".draft", f"{target.stem}.", self._folder)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            # The umask may have removed even the owner's right to read.
            draft.chmod(0o600)
            # As late as possible: this process may have been frozen since the save began.
            if not is_outdated(token, self.load(key)):
                draft.replace(target)
        finally:
            with contextlib.suppress(OSError):  # it was moved
                draft.unlink()
        self._sweep(time.time())

    @contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Acquire the lock of this key, which excludes other threads and processes.

        Wait at most ``timeout`` seconds, then raise TimeoutError. The wait polls and does not block
        in the kernel, so that other greenlets can run.
        """
        from filelock import FileLock

        self._prepare()
        # A new lock object, because two threads that share one would both get the lock. No fallback
        # to a marker file if there are no kernel locks, because it would outlive its writer.
        path = self._path(key, "lock")
        lock = FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False)
        until, pause, version = time.monotonic() + timeout, POLL_FIRST, self._version(key)
        while not _is_acquired(lock):
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Another process held the lock {path} for {timeout:g} seconds.")
            # Random, so that waiters do not try at the same moments.
            wait = min(pause * random.uniform(0.5, 1.0), left)
            if isinstance(timeout, UntilSaved):
                self._watch(key, version, wait)
            else:
                time.sleep(wait)
            pause = min(2 * pause, POLL_MAX)
        try:
            yield
        finally:
            # Released explicitly, because a child that was forked meanwhile shares the open file.
            # In that child, this call does nothing and the parent keeps its lock.
            lock.release()

    @property
    def _place(self) -> str:
        return str(self._folder)

    def _path(self, key: str, kind: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{name}.{kind}"

    def _watch(self, key: str, version: tuple[int, int] | None, seconds: float) -> None:
        """Wait; raise `Saved` as soon as the file of the token has another version."""
        for _ in range(LOOKS):
            time.sleep(seconds / LOOKS)
            if self._version(key) != version:
                raise Saved

    def _version(self, key: str) -> tuple[int, int] | None:
        """Return what is different when the file was replaced, or None if there is no file.

        The next file has another number, also on a disk whose times are not exact.
        """
        with contextlib.suppress(OSError):
            facts = self._path(key, "token").lstat()
            return facts.st_ino, facts.st_mtime_ns
        return None

    def _prepare(self) -> None:
        if not _exists(self._folder):
            _create_private(self._folder)
            _exists(self._folder)

    def _sweep(self, now: float) -> None:
        """Remove files that are no longer needed; an error ends this silently."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                own = _OWN_FILE.fullmatch(entry.name)
                if own is None:
                    continue
                most = TOKEN_AGE if own["kind"] == "token" else DRAFT_AGE
                if entry.stat(follow_symlinks=False).st_mtime < now - most:
                    Path(entry.path).unlink()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._folder)!r})"


def _is_acquired(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _require(module: str) -> None:
    try:
        __import__(module)
    except ImportError as error:
        raise ConfigurationError(
            f'FileStore needs {module}: pip install "oauthcc[file]"'
        ) from error


def _chosen(folder: str | os.PathLike[str] | None) -> Path:
    """Return the absolute path of a folder; raise ConfigurationError if it cannot be used.

    Absolute, because a daemon may change its working directory later.
    """
    try:
        # In a container, a user may have no home. The working directory may be deleted.
        path = _default_folder() if folder is None else Path(os.fsdecode(folder)).expanduser()
        path = path.absolute()
        _exists(path)
    except ConfigurationError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        given = "no folder was given" if folder is None else f"given: {folder!r}"
        raise ConfigurationError(
            "FileStore has no usable folder: pass its whole path, as in"
            f' FileStore("/var/cache/my-service") ({given}).'
        ) from error
    return path


def _default_folder() -> Path:
    _require("platformdirs")
    from platformdirs import user_cache_path

    return user_cache_path("oauthcc", appauthor=False)


def _exists(folder: Path) -> bool:
    """Return whether the folder exists; raise ConfigurationError if it is not safe to use."""
    try:
        facts = folder.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be used: {error.strerror}."
        ) from error
    if not stat.S_ISDIR(facts.st_mode):
        raise ConfigurationError(
            f"{folder} is not a folder. If it is a symbolic link, use the path of its target."
        )
    if _POSIX and facts.st_uid != os.geteuid():
        raise ConfigurationError(
            f"The folder {folder} belongs to another user (uid {facts.st_uid}). Use a folder of"
            " your own, or a new folder inside this one."
        )
    if _POSIX and facts.st_mode & 0o022:
        # A folder that all users share, such as /tmp, has the sticky bit. Nobody must change that.
        advice = (
            f"Use a new folder inside it, such as {folder / 'oauthcc'}."
            if facts.st_mode & stat.S_ISVTX
            else "Use another folder. If it is only for these tokens, run:"
            f" chmod 700 {shlex.quote(str(folder))}"
        )
        raise ConfigurationError(
            f"Other users can write in the folder {folder} and could put tokens there. {advice}"
        )
    return True


def _create_private(folder: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700 whatever the umask is."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            # Another process may have created it meanwhile.
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o700)
                path.chmod(0o700)


def _private_content(path: Path) -> bytes | None:
    """Return the content of a file, or None if another user could have written or read it."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        # Absent, a symbolic link, or not readable. If the disk is broken, `save` will raise.
        return None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return None
        if _POSIX and (facts.st_uid != os.geteuid() or facts.st_mode & 0o077):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
