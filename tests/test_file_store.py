from __future__ import annotations

import os
import pickle
import signal
import stat
import sys
import time
from pathlib import Path

import platformdirs
import pytest

from oauthcc.access_token import Token
from oauthcc.errors import ConfigurationError
from oauthcc.stores import FileStore, base
from oauthcc.stores import file as file_module

from .store_child import PATIENCE, Child
from .test_stores import UNUSABLE
from .worker import all_do, workers

KEY = "0" * 64
TOKEN = Token("abc", issued_at=1000.0, expires_at=4600.0)
OTHER = Token("other", issued_at=1000.0, expires_at=4600.0)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX owners and modes are needed")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can change an owner"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def name_of_the_key() -> str:
    return FileStore("/nowhere")._path(KEY, "token").stem


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def the_file(folder: Path, kind: str = "token") -> Path:
    (found,) = folder.glob(f"*.{kind}")
    return found


# The place and the mode of the files.


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@posix
def test_folders_are_0700_and_files_0600_whatever_the_umask(umask, tmp_path):
    store = FileStore(tmp_path / "above" / "tokens")
    before = os.umask(umask)
    try:
        with store.lock(KEY, 0):
            store.save(KEY, TOKEN)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "above") == 0o700
    assert mode_of(tmp_path / "above" / "tokens") == 0o700
    files = list((tmp_path / "above" / "tokens").iterdir())
    assert sorted(path.suffix for path in files) == [".lock", ".token"]
    assert {mode_of(path) for path in files} == {0o600}
    assert store.load(KEY) == TOKEN


@posix
def test_a_folder_that_inherits_its_group_is_private_too(tmp_path):
    tmp_path.chmod(0o2755)
    FileStore(tmp_path / "tokens").save(KEY, TOKEN)
    assert mode_of(tmp_path / "tokens") & 0o777 == 0o700


def test_no_folder_is_created_before_it_is_needed(folder):
    store = FileStore(folder)
    assert store.load(KEY) is None
    assert not folder.exists()


def test_the_default_folder_is_in_the_cache_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    FileStore().save(KEY, TOKEN)
    the_file(tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other cache folders")
def test_the_default_folder_has_the_name_of_the_library(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert repr(FileStore()) == f"FileStore({str(tmp_path / 'oauthcc')!r})"


def test_a_daemon_that_changes_its_working_directory_finds_its_tokens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FileStore("tokens")
    store.save(KEY, TOKEN)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.load(KEY) == TOKEN


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_a_folder_can_be_any_kind_of_path(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    FileStore(kind("~/tokens")).save(KEY, TOKEN)
    the_file(tmp_path / "tokens")


@pytest.mark.parametrize(
    "key", ["../../evil", "/etc/passwd", "", ".", "..", "a\0b", "a\nb", "é" * 300, "\ud800"]
)
def test_no_key_leads_out_of_the_folder(key, folder, tmp_path):
    store = FileStore(folder)
    with store.lock(key, 0):
        store.save(key, TOKEN)
    assert store.load(key) == TOKEN
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]
    assert len(the_file(folder).stem) == 64


def test_a_removed_folder_is_created_again(folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    the_file(folder).unlink()
    folder.rmdir()
    assert store.load(KEY) is None
    store.save(KEY, TOKEN)
    assert store.load(KEY) == TOKEN


def test_a_folder_that_another_process_created_meanwhile_is_used(folder, monkeypatch):
    real, store = Path.mkdir, FileStore(folder)

    def late(self, mode):
        real(self, mode)
        real(self, mode)

    monkeypatch.setattr(Path, "mkdir", late)
    store.save(KEY, TOKEN)
    assert store.load(KEY) == TOKEN


def test_a_pickled_file_store_finds_the_same_tokens(folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    assert pickle.loads(pickle.dumps(store)).load(KEY) == TOKEN


# Attacks and mistakes of other users.


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720])
@posix
def test_a_folder_that_others_can_write_to_is_refused(mode, folder):
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 700 {folder}"):
        FileStore(folder)


@posix
def test_nobody_is_told_to_change_a_folder_that_all_users_share(folder):
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(
        ConfigurationError, match=f"new folder inside it, such as {folder}/oauthcc"
    ) as no:
        FileStore(folder)
    assert "chmod" not in str(no.value)


@posix
def test_the_advice_can_be_pasted_into_a_shell(tmp_path):
    folder = tmp_path / "my tokens; rm x"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match=f"chmod 700 '{folder}'"):
        FileStore(folder)


def without_home(monkeypatch):
    def expanduser(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)


def deleted(monkeypatch):
    def absolute(path):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "absolute", absolute)


@pytest.mark.parametrize("wrong", ["a\0b", 5, ["a"], "~nobody-has-this-name/x"])
def test_a_folder_that_cannot_be_used_is_a_configuration_error(wrong):
    with pytest.raises(ConfigurationError, match=r'pass its whole path.*FileStore\("/var/cache'):
        FileStore(wrong)


@pytest.mark.parametrize("fault", [without_home, deleted])
@pytest.mark.parametrize("given", [None, "~/tokens", "tokens"])
def test_a_user_without_a_home_is_told_to_name_the_folder(monkeypatch, fault, given):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: Path("~").expanduser())
    fault(monkeypatch)
    with pytest.raises(ConfigurationError, match="pass its whole path"):
        FileStore(given)


@posix
def test_a_folder_that_others_can_write_to_later_is_refused_then(folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    folder.chmod(0o777)
    for use in (
        lambda: store.load(KEY),
        lambda: store.save(KEY, TOKEN),
        store.lock(KEY, 0).__enter__,
    ):
        with pytest.raises(ConfigurationError, match="chmod 700"):
            use()


@posix
def test_a_folder_that_others_can_read_is_accepted(folder):
    folder.mkdir(0o755)
    FileStore(folder).save(KEY, TOKEN)
    assert mode_of(the_file(folder)) == 0o600


@posix
def test_an_unsafe_folder_that_another_user_creates_meanwhile_is_refused(folder, monkeypatch):
    real, store = Path.mkdir, FileStore(folder)

    def overtaken(self, mode):
        real(self, 0o777)
        self.chmod(0o777)
        real(self, mode)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    for use in (lambda: store.save(KEY, TOKEN), store.lock(KEY, 0).__enter__):
        with pytest.raises(ConfigurationError, match="chmod 700"):
            use()
        assert list(folder.iterdir()) == []
        folder.rmdir()


@posix
def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    folder.mkdir(0o700)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        FileStore(folder)


@as_root
def test_a_folder_with_a_changed_owner_is_refused(folder):
    folder.mkdir(0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        FileStore(folder)


def test_a_folder_that_is_a_link_is_refused(folder, tmp_path):
    (tmp_path / "real").mkdir(0o700)
    folder.symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="not a folder"):
        FileStore(folder)


def test_a_folder_that_becomes_a_link_is_refused(folder, tmp_path):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(ConfigurationError, match="not a folder"):
        store.load(KEY)


def test_a_link_without_a_target_is_refused(folder, tmp_path):
    folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="not a folder"):
        FileStore(folder)


@pytest.mark.parametrize("below", ["", "tokens", "more/tokens"])
def test_a_file_in_the_place_of_a_folder_is_refused(below, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"not a folder|cannot be used"):
        FileStore(tmp_path / "file" / below)


def test_a_folder_below_a_link_without_a_target_raises(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        FileStore(tmp_path / "link" / "tokens").save(KEY, TOKEN)


def test_a_link_in_the_place_of_a_token_is_not_followed(folder, tmp_path):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    victim = tmp_path / "victim"
    the_file(folder).rename(victim)
    content = victim.read_bytes()
    link = folder / f"{name_of_the_key()}.token"
    link.symlink_to(victim)
    assert store.load(KEY) is None
    store.save(KEY, OTHER)
    assert store.load(KEY) == OTHER
    assert victim.read_bytes() == content
    assert not link.is_symlink()


def test_a_link_in_the_place_of_a_lock_is_not_followed(folder, tmp_path):
    store, victim = FileStore(folder), tmp_path / "victim"
    store.save(KEY, TOKEN)
    victim.write_text("precious")
    (folder / f"{name_of_the_key()}.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), store.lock(KEY, 0):
        pass
    assert victim.read_text() == "precious"


@posix
def test_a_pipe_in_the_place_of_a_token_does_not_hang(folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    path = the_file(folder)
    path.unlink()
    os.mkfifo(path, 0o600)
    assert store.load(KEY) is None
    store.save(KEY, OTHER)
    assert store.load(KEY) == OTHER


def test_a_folder_in_the_place_of_a_token_is_not_a_token(folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    path = the_file(folder)
    path.unlink()
    path.mkdir(0o700)
    assert store.load(KEY) is None
    with pytest.raises(OSError, match="directory"):
        store.save(KEY, TOKEN)
    assert list(folder.glob("*.draft")) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
@posix
def test_a_file_that_others_can_read_or_write_is_not_a_token(mode, folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    the_file(folder).chmod(mode)
    assert store.load(KEY) is None
    store.save(KEY, OTHER)
    assert store.load(KEY) == OTHER
    assert mode_of(the_file(folder)) == 0o600


@as_root
def test_a_file_of_another_user_is_not_a_token(folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    os.chown(the_file(folder), 65534, 65534)
    assert store.load(KEY) is None
    store.save(KEY, OTHER)
    assert store.load(KEY) == OTHER


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_without_a_token_is_overwritten(data, folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    the_file(folder).write_bytes(data)
    assert store.load(KEY) is None
    store.save(KEY, OTHER)
    assert store.load(KEY) == OTHER


# Disk errors.


def test_a_save_that_fails_leaves_the_former_token_and_no_draft(folder, monkeypatch):
    store = FileStore(folder)
    store.save(KEY, TOKEN)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(KEY, OTHER)
    monkeypatch.setattr(Path, "unlink", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(KEY, OTHER)
    assert store.load(KEY) == TOKEN
    assert len(list(folder.glob("*.draft"))) == 1


def test_only_old_files_of_the_store_are_removed(folder):
    store = FileStore(folder)
    store.save("unused", TOKEN)
    name = the_file(folder).stem
    old = {
        folder / f"{name}.token": file_module.TOKEN_AGE,
        folder / f"{name}.abc123_x.draft": file_module.DRAFT_AGE,
    }
    kept = [folder / "notes.token", folder / f"{name}.lock", folder / f"{name}.young_1.draft"]
    for path in [*old, *kept]:
        path.touch(0o600)
    ages = {**old, kept[0]: 1e9, kept[1]: 1e9, kept[2]: file_module.DRAFT_AGE - 600}
    for path, age in ages.items():
        os.utime(path, (time.time() - age - 10,) * 2)
    store.save(KEY, TOKEN)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)
    assert store.load(KEY) == TOKEN


@pytest.mark.parametrize(("kind", "most"), [("token", 30 * 86400), ("abc123_x.draft", 3600)])
def test_tokens_are_removed_after_a_month_and_drafts_after_an_hour(kind, most, folder):
    store = FileStore(folder)
    store.save(KEY, TOKEN)
    remains = []
    for age in (most - 60, most + 60):
        path = folder / f"{'a' * 64}.{kind}"
        path.touch(0o600)
        os.utime(path, (time.time() - age,) * 2)
        store.save(KEY, TOKEN)
        remains.append(path.exists())
    assert remains == [True, False]


def test_a_failing_removal_of_old_files_is_ignored(folder, monkeypatch):
    store = FileStore(folder)

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", broken)
    store.save(KEY, TOKEN)
    assert store.load(KEY) == TOKEN


def test_a_disk_without_locks_raises_and_no_marker_file_is_used(folder, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OSError, match="not implemented"), FileStore(folder).lock(KEY, 0):
        pass


# Processes.


def test_sixteen_processes_that_count_under_the_lock_lose_no_update(folder):
    rounds = 5
    with workers(16) as started:
        all_do(started, "count", store=repr(FileStore(folder)), key=KEY, rounds=rounds)
    token = FileStore(folder).load(KEY)
    assert token is not None
    assert token.access_token == str(16 * rounds)


def test_the_lock_excludes_other_processes(folder):
    store = FileStore(folder)
    with Child(repr(store), KEY, "hold") as child:
        assert (child.read_line(), child.read_line()) == ("waiting", "held")
        with pytest.raises(TimeoutError, match="Another process"), store.lock(KEY, 0):
            pass
        child.send()
        with store.lock(KEY, PATIENCE):
            pass


def test_the_lock_of_a_killed_process_is_free_at_once(folder):
    store = FileStore(folder)
    with Child(repr(store), KEY, "hold") as child:
        assert (child.read_line(), child.read_line()) == ("waiting", "held")
        child.kill()
        with store.lock(KEY, 0):
            pass


class Waits:
    """The pauses of a waiter, by a clock that only they move, and its attempts to get the lock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pauses, self.attempts, self.looks = 100.0, [], 0, 0
        self.meanwhile = lambda: None
        acquire, version = file_module._is_acquired, FileStore._version

        def is_acquired(lock):
            self.attempts += 1
            return acquire(lock)

        def looked(store, key):
            self.looks += 1
            return version(store, key)

        monkeypatch.setattr(file_module, "_is_acquired", is_acquired)
        monkeypatch.setattr(FileStore, "_version", looked)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr("random.uniform", lambda least, most: most)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.meanwhile()


@pytest.mark.parametrize("before", [None, OTHER])
def test_who_waits_for_a_token_finds_it_without_the_lock(before, folder, monkeypatch):
    store = FileStore(folder)
    if before is not None:
        store.save(KEY, before)
    with store.lock(KEY, 0):
        waits = Waits(monkeypatch)

        def save():
            if len(waits.pauses) == 20:
                store.save(KEY, TOKEN)
                if before is not None:  # a disk whose times are not exact
                    os.utime(the_file(folder), ns=times)

        if before is not None:
            times = (the_file(folder).stat().st_atime_ns, the_file(folder).stat().st_mtime_ns)
        waits.meanwhile = save
        with pytest.raises(base.Saved), store.lock(KEY, base.UntilSaved(60)):
            pass
    assert len(waits.pauses) == 20
    assert waits.attempts == 3


def test_who_waits_for_the_lock_itself_gets_it_although_a_token_is_saved(folder, monkeypatch):
    store, story = FileStore(folder), []
    with store.lock(KEY, 0):
        waits = Waits(monkeypatch)
        waits.meanwhile = lambda: store.save(KEY, TOKEN)
        with pytest.raises(TimeoutError, match="held the lock") as caught, store.lock(KEY, 1.0):
            story.append("never")
    assert type(caught.value) is TimeoutError
    assert story == []
    with store.lock(KEY, 1.0):
        story.append("held")
    assert story == ["held"]


@pytest.mark.parametrize(("kind", "most"), [(float, 8), (base.UntilSaved, 64)])
def test_waiters_try_less_and_less_often_but_until_the_timeout(kind, most, folder, monkeypatch):
    store = FileStore(folder)
    with store.lock(KEY, 0):
        waits = Waits(monkeypatch)
        with pytest.raises(TimeoutError), store.lock(KEY, kind(1.0)):
            pass
    assert waits.now == pytest.approx(101.0)
    assert waits.attempts == 7  # after 0, .05, .15, .35, .6, .85 and 1 second
    assert len(waits.pauses) <= most
    assert sum(waits.pauses) == pytest.approx(1.0)


def test_a_file_that_cannot_be_looked_at_does_not_end_the_wait(folder, monkeypatch):
    store = FileStore(folder)
    with store.lock(KEY, 0):
        Waits(monkeypatch)
        monkeypatch.setattr(file_module.Path, "lstat", raising_oserror)
        monkeypatch.setattr(file_module, "_exists", lambda folder: True)
        with pytest.raises(TimeoutError) as caught, store.lock(KEY, base.UntilSaved(1.0)):
            pass
    assert type(caught.value) is TimeoutError


def raising_oserror(*_: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_process_that_waits_for_a_killed_process_gets_the_lock(folder):
    store = repr(FileStore(folder))
    with Child(store, KEY, "hold") as holder:
        assert (holder.read_line(), holder.read_line()) == ("waiting", "held")
        with Child(store, KEY, "hold") as other:
            assert other.read_line() == "waiting"
            holder.kill()
            assert other.read_line() == "held"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is needed")
def test_a_child_forked_inside_the_lock_neither_releases_nor_keeps_it(folder):
    store = FileStore(folder)
    with Child(repr(store), KEY, "hold_and_fork") as parent:
        grandchild = int(parent.read_line())
        try:
            with pytest.raises(TimeoutError), store.lock(KEY, 0):
                pass
            parent.kill()
            with store.lock(KEY, 0):
                pass
        finally:
            os.kill(grandchild, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is needed")
def test_a_released_lock_is_free_while_a_forked_child_lives(folder):
    store = FileStore(folder)
    with Child(repr(store), KEY, "hold_and_fork") as parent:
        grandchild = int(parent.read_line())
        try:
            parent.send()
            assert parent.read_line() == "released"
            with store.lock(KEY, 0):
                pass
        finally:
            os.kill(grandchild, signal.SIGKILL)


# Missing packages.


@pytest.mark.parametrize("module", ["filelock", "platformdirs"])
def test_an_error_names_the_missing_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf'needs {module}: pip install "oauthcc\[file\]"'):
        FileStore()


def test_an_explicit_folder_does_not_need_platformdirs(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    FileStore(folder)


def test_a_file_contains_an_encoded_token(folder):
    FileStore(folder).save(KEY, TOKEN)
    assert base.decode(the_file(folder).read_bytes(), None) == TOKEN
