from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from oauthcc.errors import ConfigurationError, TokenError
from oauthcc.secret import MAX_BYTES, Secret, absolute

SECRET = "s3cr3t:with/all%sorts+of &things"


def from_nowhere() -> str:
    """Return the secret: a function of a module can be pickled."""
    return SECRET


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def test_a_string_is_the_secret_and_does_not_change() -> None:
    secret = Secret.of(SECRET)
    assert secret.read() == SECRET
    assert not secret.changes


def test_a_callable_is_called_for_every_read_and_not_before() -> None:
    values = iter(["first", "second"])
    secret = Secret.of(lambda: next(values))
    assert secret.changes
    assert [secret.read(), secret.read()] == ["first", "second"]


def test_a_file_is_opened_again_for_every_read(file: Path) -> None:
    secret = Secret.of(file)
    assert secret.changes
    assert secret.read() == SECRET
    file.write_text("rotated")
    assert secret.read() == "rotated"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_the_line_break_at_the_end_of_a_file_is_removed(file: Path, end: str) -> None:
    file.write_bytes(f"{SECRET} {end}".encode())
    assert Secret.of(file).read() == f"{SECRET} "


def test_a_byte_order_mark_is_not_part_of_the_secret(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfs\xc3\xa9cret\r\n")
    assert Secret.of(file).read() == "sécret"


def test_a_relative_path_survives_a_change_of_the_working_directory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    secret = Secret.of(Path(file.name))
    monkeypatch.chdir("/")
    assert secret.read() == SECRET
    assert absolute(file) == file


def test_a_link_is_followed_again_for_every_read(file: Path) -> None:
    # Mounted secrets rotate in this way: a link is replaced by another.
    link = file.parent / "link"
    link.symlink_to(file)
    secret = Secret.of(link)
    (file.parent / "other").write_text("rotated")
    link.unlink()
    link.symlink_to(file.parent / "other")
    assert secret.read() == "rotated"


@pytest.mark.parametrize("value", [None, 17, b"octets", ["a"]])
def test_a_value_of_another_type_is_refused_with_advice(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"client_secret must be a string, a callable"):
        Secret.of(value)  # type: ignore[arg-type]


BAD = {
    "empty": "is empty",
    "line": "control character",
    "nul": "control character",
    "c1": "control character",
    "surrogate": "not valid Unicode",
}
VALUES = {
    "empty": "",
    "line": "hidden-hidden\n",
    "nul": "hidden\0",
    "c1": "hidden\x85",
    "surrogate": "\udc80",
}


@pytest.mark.parametrize("kind", BAD)
def test_an_invalid_string_is_refused_at_construction(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"password.*{BAD[kind]}") as caught:
        Secret.of(VALUES[kind], "password")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("kind", BAD)
def test_an_invalid_result_of_a_callable_is_refused_by_read(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"from a callable .*{BAD[kind]}") as caught:
        Secret.of(lambda: VALUES[kind]).read()
    assert "hidden" not in str(caught.value)


def test_a_result_of_another_type_is_refused_by_read() -> None:
    secret = Secret.of(lambda: b"octets")  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match=r"from a callable must be a string, not bytes"):
        secret.read()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hidden\nhidden", "control character"),
        (b"hidden\xff", "not valid Unicode"),
        (b"x" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_the_error_for_invalid_content_names_the_file(
    file: Path, content: bytes, problem: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        Secret.of(file)
    assert str(file) in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path / "missing", "Not a directory"),
        (lambda path: path.parent / "missing", "No such file"),
        (lambda path: path.parent, "Is a directory"),
        (lambda path: Path(f"{path}\0"), "ValueError"),
    ],
)
def test_the_error_for_an_unreadable_file_names_the_file(
    file: Path, spoil: Callable[[Path], Path], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        Secret.of(spoil(file))
    assert "client_secret in '/" in str(caught.value)
    assert isinstance(caught.value.__cause__, (OSError, ValueError))


def test_a_deleted_file_is_a_token_error(file: Path) -> None:
    secret = Secret.of(file)
    file.unlink()
    with pytest.raises(TokenError, match="No such file") as caught:
        secret.read()
    assert str(file) in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_file_that_became_empty_is_a_configuration_error(file: Path) -> None:
    secret = Secret.of(file)
    file.write_text("")
    with pytest.raises(ConfigurationError, match="is empty"):
        secret.read()


@pytest.mark.parametrize(
    "error", [KeyError("hidden"), OSError(5, "hidden"), ConfigurationError("hidden")]
)
def test_a_callable_that_raises_is_a_token_error_that_names_only_the_type(
    error: Exception,
) -> None:
    def fail() -> str:
        raise error

    with pytest.raises(TokenError, match=type(error).__name__) as caught:
        Secret.of(fail).read()
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_an_interrupt_in_a_callable_is_not_caught() -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Secret.of(interrupted).read()


def test_no_repr_shows_a_secret(file: Path) -> None:
    assert repr(Secret.of(SECRET)) == "<Secret from a string>"
    assert repr(Secret.of(from_nowhere)) == "<Secret from a callable>"
    assert repr(Secret.of(file)) == f"<Secret in {str(file)!r}>"


def test_a_pickle_holds_a_string_but_only_the_path_of_a_file(file: Path) -> None:
    for value in (SECRET, from_nowhere, file):
        secret = Secret.of(value)
        assert pickle.loads(pickle.dumps(secret)) == copy.deepcopy(secret) == secret
    assert SECRET.encode() in pickle.dumps(Secret.of(SECRET))
    assert SECRET.encode() not in pickle.dumps(Secret.of(file))
    assert file.name.encode() in pickle.dumps(Secret.of(file))


def test_a_relative_path_without_a_working_directory_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigurationError, match=r"'my\.secret' is a relative path.*whole path"):
        Secret.of(Path("my.secret"))
