"""Tokens in files, shared by the processes of one user on one machine.

Each key has two files, named by its hash: ``.token``, replaced as a whole, and ``.lock``, which
stays behind empty. The lock is the kernel's: it is gone the moment its holder is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..access_token import Token
from ..errors import ConfigurationError
from .codec import MOST_BYTES, Cipher, decode, encode
from .place import Place

#: Seconds between two looks at a lock that is held.
POLL = 0.05
#: Seconds after which a file that nobody renewed is removed: drafts of writers that were killed,
#: and tokens whose secret or scope is no longer in use.
DRAFT_AGE, TOKEN_AGE = 3600.0, 30 * 86400.0

_OURS = re.compile(r"[0-9a-f]{64}\.(?P<kind>token|[A-Za-z0-9_]+\.draft)")
# On Windows neither owner nor mode says anything; the folders of a user are private there.
_POSIX = os.name == "posix"
_READ = os.O_RDONLY | sum(
    getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
)


class FileStore(Place):
    """Keep tokens in files that only this user can read and write.

    ``folder`` is made when it is needed, by default ``oauthcc`` in the user's cache folder. It must
    belong to this user, and others must not be able to write in it: anything else, a symbolic link
    too, raises ConfigurationError. It should be on a local disk. ``cipher`` encrypts the tokens,
    for example ``cryptography.fernet.Fernet(key)``. Needs ``pip install "oauthcc[file]"``.

    Files are 0600 and folders 0700 whatever the umask. A file is replaced in one step, so a reader
    never sees half of one; it is not forced to the disk, since a token lost in a power cut costs
    one token request. Files that are damaged, foreign or readable by others count as absent.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, cipher: Cipher | None = None
    ) -> None:
        _demand("filelock")
        chosen = _default_folder() if folder is None else Path(os.fsdecode(folder)).expanduser()
        # Absolute, because a daemon changes its working directory after this.
        self._folder = chosen.absolute()
        self._cipher = cipher
        _is_there(self._folder)

    def load(self, key: str) -> Token | None:
        """Return the token that was last saved under the key, perhaps expired, or None."""
        if not _is_there(self._folder):
            return None
        data = _private_content(self._path(key, "token"))
        return None if data is None else decode(data, self._cipher)

    def save(self, key: str, token: Token) -> None:
        """Replace the key's file in one step; raise OSError where the disk does not allow it."""
        data = encode(token, self._cipher)
        self._prepare()
        target = self._path(key, "token")
        descriptor, name = tempfile.mkstemp(".draft", f"{target.stem}.", self._folder)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            # The umask may have taken even our own right to read.
            draft.chmod(0o600)
            draft.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        self._sweep(time.time())

    @contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Exclude other threads and processes for this key.

        Wait at most ``timeout`` seconds, then raise TimeoutError. The wait looks again and again
        instead of blocking in the kernel, so that other greenlets get their turn.
        """
        from filelock import FileLock, Timeout

        self._prepare()
        # A lock object of our own: threads that share one would both get in. Without a kernel lock
        # there would only be a marker file, which outlives its writer.
        path = self._path(key, "lock")
        lock = FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(timeout=max(timeout, 0.0), poll_interval=POLL)
        except Timeout:
            raise TimeoutError(
                f"Another process kept the lock {path} for {timeout:g} seconds."
            ) from None
        try:
            yield
        finally:
            # In so many words, since a child forked meanwhile shares the open file. In that child
            # itself this does nothing, and the parent keeps its lock.
            lock.release()

    def _path(self, key: str, kind: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / f"{name}.{kind}"

    def _prepare(self) -> None:
        if not _is_there(self._folder):
            _make_private(self._folder)
            _is_there(self._folder)

    def _sweep(self, now: float) -> None:
        """Remove what nobody needs; this is a courtesy, and whatever hinders it may."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                ours = _OURS.fullmatch(entry.name)
                if ours is None:
                    continue
                most = TOKEN_AGE if ours["kind"] == "token" else DRAFT_AGE
                if entry.stat(follow_symlinks=False).st_mtime < now - most:
                    Path(entry.path).unlink()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._folder)!r})"


def _demand(module: str) -> None:
    try:
        __import__(module)
    except ImportError as error:
        raise ConfigurationError(
            f'FileStore needs {module}: pip install "oauthcc[file]"'
        ) from error


def _default_folder() -> Path:
    _demand("platformdirs")
    from platformdirs import user_cache_path

    return user_cache_path("oauthcc", appauthor=False)


def _is_there(folder: Path) -> bool:
    """Say whether the folder exists; raise ConfigurationError where others could tamper with it."""
    try:
        facts = folder.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be used: {error.strerror}."
        ) from error
    if not stat.S_ISDIR(facts.st_mode):
        raise ConfigurationError(f"{folder} is not a folder; for a link, name where it leads.")
    if _POSIX and facts.st_uid != os.geteuid():
        raise ConfigurationError(
            f"The folder {folder} belongs to somebody else (uid {facts.st_uid}): name a folder of"
            " your own, or one inside it that does not exist yet."
        )
    if _POSIX and facts.st_mode & 0o022:
        raise ConfigurationError(
            f"Others can write in the folder {folder} and plant tokens there: chmod 700 {folder}"
        )
    return True


def _make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, each with mode 0700 whatever the umask."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            # Another process may have been first.
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o700)
                path.chmod(0o700)


def _private_content(path: Path) -> bytes | None:
    """Return what a file holds that nobody else can have written or read, else None."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        # Not there, a link, or not for us to read. An unsound disk shows when we save.
        return None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return None
        if _POSIX and (facts.st_uid != os.geteuid() or facts.st_mode & 0o077):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
