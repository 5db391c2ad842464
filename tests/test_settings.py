from __future__ import annotations

import sys
from pathlib import Path

import pytest

from oauthcc import ClientCredentialsSession, NoClientAuth, settings
from oauthcc.errors import ConfigurationError
from oauthcc.settings import options_from_env, options_from_profile

SECRET = "s3cr3t value"
GOOD = {
    "OAUTH_TOKEN_URL": "https://as.example/token",
    "OAUTH_CLIENT_ID": "my-id",
    "OAUTH_CLIENT_SECRET": SECRET,
}
OPTIONS = {
    "token_url": "https://as.example/token",
    "client_id": "my-id",
    "client_secret": SECRET,
}
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.ini"
    write(
        path,
        "[DEFAULT]",
        "token_url = https://as.example/token",
        "[orders]",
        "client_id = my-id",
        f"client_secret = {SECRET}",
        "[stock]",
        "CLIENT_ID = other",
        "client_secret_file = secrets/stock",
        "scope = a b",
        "api_url = https://api.example/v1",
        "    https://api.example/v2",
    )
    return path


def write(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    path.chmod(mode)
    return path


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        options_from_env(environ=environ)
    assert SECRET not in repr(caught.value)
    return str(caught.value)


def test_three_variables_are_enough():
    assert options_from_env(environ=GOOD) == OPTIONS


def test_the_process_environment_is_read_and_the_prefix_can_be_chosen(monkeypatch):
    for name, value in GOOD.items():
        monkeypatch.setenv(name.replace("OAUTH_", "OAUTHCC_TEST_"), value)
    assert options_from_env("OAUTHCC_TEST_") == OPTIONS


MISSPELLED = {
    "OAUTH_SCOPES": "OAUTH_SCOPE",
    "OAUTH_AUDIENSE": "OAUTH_AUDIENCE",
    "OAUTH_RESOURCES": "OAUTH_RESOURCE",
    "OAUTH_API_URLS": "OAUTH_API_URL",
    "oauth_scope": "OAUTH_SCOPE",
}


@pytest.mark.parametrize("name", MISSPELLED)
def test_a_variable_that_looks_misspelled_is_a_warning(name, caplog):
    assert options_from_env(environ={**GOOD, name: SECRET}) == OPTIONS
    (record,) = caplog.records
    assert record.getMessage().endswith(f"{name} is not known, is {MISSPELLED[name]} meant?")
    assert SECRET not in caplog.text


def test_a_misspelled_variable_is_named_if_its_option_is_missing():
    environ = {**GOOD, "OAUTH_CLIENT_SECRT": SECRET}
    del environ["OAUTH_CLIENT_SECRET"]
    assert "OAUTH_CLIENT_SECRT is not known, is OAUTH_CLIENT_SECRET meant?" in refusal(environ)


@pytest.mark.parametrize(
    "name", ["OAUTH_CALLBACK_URL", "OAUTH_REDIRECT_URI", "OAUTH_TOKEN", "OAUTHLIB_INSECURE", "PATH"]
)
def test_a_variable_of_another_program_is_ignored(name, caplog):
    assert options_from_env(environ={**GOOD, name: "x"}) == OPTIONS
    assert caplog.records == []


def test_a_variable_that_is_similar_to_one_that_is_set_is_ignored(caplog):
    environ = {**GOOD, "OAUTH_SCOPE": "a", "OAUTH_SCOPES": "b"}
    assert options_from_env(environ=environ)["scope"] == "a"
    assert options_from_env("", {"TOKEN_URL": "https://as.example/token", "CLIENT_ID": "my-id",
                                 "CLIENT_SECRET": SECRET, "SCOPES": "b"}) == OPTIONS  # fmt: skip
    assert caplog.records == []


def test_the_other_way_to_give_what_is_set_is_not_missed(caplog):
    environ = {**GOOD, "OAUTH_CLIENT_SECRET_NAME": "a", "OAUTH_ISSUERS": "b"}
    assert options_from_env(environ=environ) == OPTIONS
    assert caplog.records == []


def test_what_is_given_in_code_is_not_missing(profiles):
    environ = {**GOOD}
    del environ["OAUTH_CLIENT_SECRET"]
    for given in ({"client_auth": NoClientAuth()}, {"client_secret": SECRET}):
        found = options_from_env(environ=environ, given=given)
        assert found == {"token_url": OPTIONS["token_url"], "client_id": "my-id"}
    with pytest.raises(ConfigurationError, match="OAUTH_CLIENT_SECRET is missing"):
        options_from_env(environ=environ, given={"client_auth": None, "scope": "a"})
    incomplete = write(
        profiles.parent / "b", "[a]", "token_url = https://as.example/token", "client_id = my-id"
    )
    session = ClientCredentialsSession.from_profile("a", incomplete, client_auth=NoClientAuth())
    assert "client 'my-id'" in repr(session)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_line_break_at_the_end_of_a_secret_is_left_out_with_a_warning(end, caplog):
    environ = {**GOOD, "OAUTH_CLIENT_SECRET": f" {SECRET} {end}"}
    assert options_from_env(environ=environ) == {**OPTIONS, "client_secret": f" {SECRET} "}
    options_from_env(environ=environ)  # as sessions that are made for each call
    (record,) = caplog.records
    assert "the line break at the end of OAUTH_CLIENT_SECRET was left out" in record.getMessage()
    assert SECRET not in caplog.text


@pytest.mark.parametrize("secret", ["a\nb", "a\tb", "\x00a", "a\ud800"])
def test_a_secret_that_cannot_be_one_is_an_error_that_names_the_variable(secret):
    text = refusal({**GOOD, "OAUTH_CLIENT_SECRET": secret})
    assert text.startswith("The OAUTH_CLIENT_SECRET in the environment holds a control character")
    assert text.endswith("or is not valid Unicode.")


def test_every_known_variable_becomes_an_option():
    environ = {
        "OAUTH_ISSUER": " https://as.example\n",
        "OAUTH_CLIENT_ID": "my-id",
        "OAUTH_CLIENT_SECRET_FILE": "/run/secrets/my-id",
        "OAUTH_SCOPE": "a b",
        "OAUTH_API_URL": "https://a.example/v1, https://b.example,https://c.example\n",
        "OAUTH_AUDIENCE": "https://api.example",
        "OAUTH_RESOURCE": "https://a.example/x,y https://b.example",
        "OAUTH_CLIENT_AUTH": "client_secret_post",
        "OAUTH_SOMETHING_ELSE": "is ignored",
    }
    assert options_from_env(environ=environ) == {
        "issuer": "https://as.example",
        "client_id": "my-id",
        "client_secret": Path("/run/secrets/my-id"),
        "scope": "a b",
        "api_url": ["https://a.example/v1", "https://b.example", "https://c.example"],
        "audience": "https://api.example",
        "resource": ["https://a.example/x,y", "https://b.example"],
        "client_auth": "client_secret_post",
    }


def test_an_empty_variable_counts_as_not_set():
    empty = {"OAUTH_ISSUER": "", "OAUTH_SCOPE": " ", "OAUTH_API_URL": "", "OAUTH_RESOURCE": ""}
    assert options_from_env(environ=GOOD | empty | {"OAUTH_CLIENT_SECRET_FILE": ""}) == OPTIONS


@pytest.mark.parametrize("text", [",", " , ", ",,", "   ", "\n"])
def test_api_urls_without_any_url_are_an_error_and_do_not_allow_every_url(
    monkeypatch, tmp_path, text
):
    # As in "${ORDERS_URL},${BILLING_URL}", if neither is set.
    for name, value in (GOOD | {"OAUTH_API_URL": text}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="api_url is empty"):
        ClientCredentialsSession.from_env()
    with ClientCredentialsSession.from_env(api_url="https://api.example"):
        pass  # what is written in code wins
    profiles = tmp_path / "profiles.ini"
    profiles.touch(0o600)
    lines = "[x]\ntoken_url=https://as.example/token\nclient_id=a\nclient_secret=b\napi_url=,"
    profiles.write_text(lines)
    with pytest.raises(ConfigurationError, match="api_url is empty"):
        ClientCredentialsSession.from_profile("x", profiles)


def test_spaces_around_a_secret_may_belong_to_it():
    options = options_from_env(environ=GOOD | {"OAUTH_CLIENT_SECRET": " x "})
    assert options["client_secret"] == " x "
    assert "OAUTH_CLIENT_SECRET" in refusal(GOOD | {"OAUTH_CLIENT_SECRET": "  "})


def test_a_secret_file_may_be_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    environ = GOOD | {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_SECRET_FILE": "~/secret"}
    assert options_from_env(environ=environ)["client_secret"] == tmp_path / "secret"
    environ["OAUTH_CLIENT_SECRET_FILE"] = "~no-such-user-here/secret"
    assert options_from_env(environ=environ)["client_secret"] == Path("~no-such-user-here/secret")


def test_one_error_names_everything_that_is_missing():
    message = refusal({"OAUTH_SCOPE": "a"})
    for name in (*GOOD, "OAUTH_ISSUER", "OAUTH_CLIENT_SECRET_FILE"):
        assert name in message
    assert "OAUTH_TOKEN_URL=https://" in message
    assert "OAUTH_CLIENT_ID=" in message
    assert "the environment" in message


@pytest.mark.parametrize("name", GOOD)
def test_the_error_names_only_what_is_missing(name: str):
    message = refusal({key: value for key, value in GOOD.items() if key != name})
    assert name in message
    assert not any(key in message for key in GOOD if key != name)


@pytest.mark.parametrize("method", ["none", "private_key_jwt", "tls_client_auth"])
def test_a_method_without_a_secret_needs_none(method: str):
    environ = GOOD | {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_AUTH": method}
    assert "client_secret" not in options_from_env(environ=environ)


def test_a_method_with_a_secret_needs_one():
    environ = GOOD | {"OAUTH_CLIENT_SECRET": "", "OAUTH_CLIENT_AUTH": "client_secret_basic"}
    assert "OAUTH_CLIENT_SECRET_FILE or OAUTH_CLIENT_SECRET is missing" in refusal(environ)


def test_two_variables_for_the_same_option_are_refused():
    message = refusal(GOOD | {"OAUTH_ISSUER": "https://as.example"})
    assert "OAUTH_TOKEN_URL or OAUTH_ISSUER, not both" in message
    for method in ("", "none"):
        both = {"OAUTH_CLIENT_SECRET_FILE": "/run/secrets/x", "OAUTH_CLIENT_AUTH": method}
        assert "OAUTH_CLIENT_SECRET, not both" in refusal(GOOD | both)


def test_a_profile_is_a_section_of_a_file(profiles):
    assert options_from_profile("orders", profiles) == OPTIONS
    assert options_from_profile("stock", str(profiles)) == {
        "token_url": "https://as.example/token",
        "client_id": "other",
        "client_secret": profiles.parent / "secrets" / "stock",
        "scope": "a b",
        "api_url": ["https://api.example/v1", "https://api.example/v2"],
    }


def test_a_secret_file_of_a_profile_may_be_absolute(tmp_path):
    secret = tmp_path / "elsewhere" / "secret"
    lines = ("[a]", "issuer=https://as.example", "client_id=b", f"client_secret_file={secret}")
    path = write(tmp_path / "profiles.ini", *lines)
    assert options_from_profile("a", path)["client_secret"] == secret


def test_a_value_is_read_literally(tmp_path):
    lines = (
        "[a]",
        "issuer = https://as.example",
        "client_id = %(x)s $y %",
        "client_secret = a#b ;c=d",
    )
    options = options_from_profile("a", write(tmp_path / "profiles.ini", *lines))
    assert options["client_id"] == "%(x)s $y %"
    assert options["client_secret"] == "a#b ;c=d"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    lines = ("\ufeff[a]", "issuer=https://as.example", "client_id=b", "client_auth=none")
    assert options_from_profile("a", write(tmp_path / "profiles.ini", *lines))["client_id"] == "b"


def test_the_default_path_follows_the_xdg_specification(profiles, monkeypatch, tmp_path):
    home, config = tmp_path / "home", tmp_path / "config"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for setting, folder in (
        (config, config),
        ("", home / ".config"),
        ("relative", home / ".config"),
    ):
        (folder / "oauthcc").mkdir(parents=True, exist_ok=True)
        write(folder / "oauthcc" / "profiles.ini", profiles.read_text(encoding="utf-8"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(setting))
        secret = options_from_profile("stock")["client_secret"]
        assert secret == folder / "oauthcc" / "secrets" / "stock"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert options_from_profile("orders") == OPTIONS


def test_the_error_for_a_missing_profile_lists_the_others(profiles, tmp_path):
    with pytest.raises(ConfigurationError, match=r"'other' in .*\[other\].* orders, stock"):
        options_from_profile("other", profiles)
    with pytest.raises(ConfigurationError, match="none"):
        options_from_profile("DEFAULT", write(tmp_path / "empty.ini"))


def test_the_error_for_an_incomplete_profile_names_the_missing_keys(tmp_path):
    path = write(tmp_path / "profiles.ini", "[a]", "scope = x")
    with pytest.raises(ConfigurationError) as caught:
        options_from_profile("a", path)
    message = str(caught.value)
    assert f"profile 'a' in {path}" in message
    assert "token_url or issuer is missing, set it as in token_url=https://" in message
    assert "client_id is missing" in message
    assert "client_secret_file or client_secret is missing" in message


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"client_secret = {SECRET}",
        f"[a]\n{SECRET}",
        f"[a]\nclient_secret = x\nclient_secret = {SECRET}",
        f"[a]\n[a]\nclient_secret = {SECRET}",
        f"[a]\nclient_secret = \xff {SECRET}",
        f"[a]\n{SECRET} = 1",
        f"[a]\nissuer = {SECRET}",
    ],
)
def test_the_error_for_a_broken_file_quotes_no_line(text: str, tmp_path):
    path = tmp_path / "profiles.ini"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        options_from_profile("a", path)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_unknown_key_is_refused(tmp_path):
    lines = ("[a]", "issuer=https://as.example", "client_id=b", "client_auth=none", "scop=c")
    with pytest.raises(ConfigurationError, match=r"Unknown key.*scope"):
        options_from_profile("a", write(tmp_path / "profiles.ini", *lines))


def test_the_error_for_an_unreadable_file_gives_the_reason(tmp_path):
    path = tmp_path / "profiles.ini"
    with pytest.raises(ConfigurationError, match="No such file"):
        options_from_profile("a", path)
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"profiles\.ini cannot be read: ."):
        options_from_profile("a", path)


def test_an_os_error_without_a_reason_is_a_configuration_error(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise OSError

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(ConfigurationError, match="input/output error"):
        options_from_profile("a", tmp_path / "profiles.ini")


@posix_only
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_a_secret_that_others_can_read_is_refused(mode: int, profiles):
    profiles.chmod(mode)
    for name in ("orders", "stock"):
        with pytest.raises(ConfigurationError, match="chmod 600") as caught:
            options_from_profile(name, profiles)
        assert SECRET not in str(caught.value)


@posix_only
def test_a_default_secret_that_others_can_read_is_refused(tmp_path):
    lines = (
        "[DEFAULT]",
        f"client_secret={SECRET}",
        "[a]",
        "issuer=https://as.example",
        "client_id=b",
    )
    with pytest.raises(ConfigurationError, match="chmod 600"):
        options_from_profile("a", write(tmp_path / "profiles.ini", *lines, mode=0o644))


@posix_only
def test_a_file_without_a_secret_may_be_read_by_all(tmp_path):
    lines = ("[a]", "issuer=https://as.example", "client_id=b", "client_secret_file=c")
    path = write(tmp_path / "profiles.ini", *lines, "client_secret =", mode=0o644)
    assert options_from_profile("a", path)["client_secret"] == tmp_path / "c"


def test_file_modes_are_ignored_on_systems_without_them(profiles, monkeypatch):
    monkeypatch.setattr(settings, "_POSIX", False)
    profiles.chmod(0o644)
    assert options_from_profile("orders", profiles) == OPTIONS


def test_the_repr_of_settings_shows_no_value():
    shown = repr(settings.Settings({"client_secret": SECRET}, "here", Path(), {"a": SECRET}))
    assert SECRET not in shown
