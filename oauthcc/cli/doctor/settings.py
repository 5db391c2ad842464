"""The first step: the configuration, and what looks wrong in it without asking any server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, OAuthCCError, text_of
from ...secret import check_text, read_file
from ...settings import Settings
from ...urls import is_secure, origin_of, public_url
from ..configuration import Configuration
from . import limits
from .findings import Checkup
from .limits import Deadline, Hanging

_URLS = ("token_url", "issuer", "api_url")
_SHOWN = (*_URLS, "client_id", "scope", "audience", "resource", "client_auth")
_EXAMPLES = {
    "token_url": "https://as.example/token",
    "client_id": "my-id",
    "client_secret": "my-secret",
}
#: How similar the beginnings of two names are if one of them is misspelled.
_SIMILAR = 0.75


class Setup:
    """What was given to the command, in variables or in a profile, by the names of settings."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration: Configuration = configuration
        self.settings: Settings = configuration.settings()
        self.given: Mapping[str, Any] = configuration.given

    def get(self, *keys: str) -> Any:
        """Return the first value that is given."""
        for key in keys:
            if value := self.given.get(key) or self.settings.get(key):
                return value
        return None

    def name(self, *keys: str) -> str:
        """Return how the user names the first of these settings that is given."""
        for key in keys:
            if self.given.get(key):
                return f"--{key.replace('_', '-')}"
            if self.settings.get(key):
                return self.settings.shown(key)
        return self.settings.shown(keys[0])

    def names(self) -> dict[str, str]:
        """Return the names of settings for the texts of findings."""
        return {
            "n_server": self.name("token_url", "issuer"),
            "n_client": self.name("client_id"),
            "n_secret": self._name_of_secret(),
            "n_scope": self.name("scope"),
            "n_method": self.name("client_auth"),
            "n_audience": self.name("audience", "resource"),
            "n_api": self.name("api_url"),
            "place": self.configuration.place,
        }

    def _name_of_secret(self) -> str:
        given = self.given.get("client_secret")
        if isinstance(given, Path):
            return "--client-secret-file"
        return (
            "the secret that you typed"
            if given
            else self.name("client_secret", "client_secret_file")
        )

    def secret_text(self) -> str | None:
        """Return the secret as it was given, None if it is in a file or if there is none."""
        given = self.given.get("client_secret")
        if given is None and self.settings.get("client_secret"):
            return self.settings.found["client_secret"]
        return given if isinstance(given, str) else None

    def shown(self) -> dict[str, Any]:
        """Return the configuration without the secret."""
        found: dict[str, Any] = {"profile": self.configuration.profile}
        for key in _SHOWN:
            value = self.get(key)
            if key in _URLS and value:
                texts = value if isinstance(value, list) else re.findall(r"[^\s,]+", value)
                value = " ".join(map(public_url, texts))
            elif isinstance(value, list):
                value = " ".join(value)
            found[key] = value
        has_secret = self.get("client_secret", "client_secret_file")
        found["client_secret"] = f"from {self._name_of_secret()}" if has_secret else None
        return found


def check_settings(checkup: Checkup, setup: Setup, deadline: Deadline) -> dict[str, Any] | None:
    """Return the options of a session, with the secret as a text, or None if there is a problem."""
    if _is_incomplete(checkup, setup):
        return None
    secret = setup.secret_text()
    if secret is not None:
        secret = _checked_secret(checkup, secret)
        if secret is None:
            return None
    try:
        options = setup.configuration.options()
    except ConfigurationError as error:
        checkup.find("bad_configuration", error=checkup.named(error))
        return None
    url = options.get("issuer") or options["token_url"]
    origin = origin_of(url)
    is_allowed = origin is None or is_secure(origin)  # the session tells what is wrong with None
    if not (is_allowed or os.environ.get("OAUTHLIB_INSECURE_TRANSPORT")):
        checkup.find("plain_http", url=public_url(url))
        return None
    if isinstance(options.get("client_secret"), Path):
        text = _content(checkup, options["client_secret"], deadline)
        secret = None if text is None else _checked_secret(checkup, text)
        if secret is None:
            return None
    return options if secret is None else {**options, "client_secret": secret}


def _is_incomplete(checkup: Checkup, setup: Setup) -> bool:
    """Add findings about what is missing or misspelled; return whether something is missing."""
    required: list[tuple[str, ...]] = [("token_url", "issuer"), ("client_id",)]
    if str(setup.get("client_auth") or "client_secret_").startswith("client_secret_"):
        required.append(("client_secret", "client_secret_file"))
    missing = [keys for keys in required if not setup.get(*keys)]
    shown = setup.settings.shown
    explained = set()
    for given, meant in (*setup.settings.misspelled, *_with_another_prefix(setup, missing)):
        found = [keys for keys in missing if meant in map(shown, keys)]
        explained.update(found)
        checkup.find(
            "misspelled_variable" if found else "unknown_variable", given=given, meant=meant
        )
    for keys in missing:
        if keys not in explained:
            names = " or ".join(map(shown, keys))
            example = f"{shown(keys[0])}={_EXAMPLES[keys[0]]}"
            checkup.find("missing_variable", missing=names, example=example)
    return bool(missing)


def _with_another_prefix(
    setup: Setup, missing: Iterable[tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    """Yield the variables with a misspelled prefix, such as ``OATH_``, with what each means."""
    prefix = setup.settings.prefix
    for key in (key for keys in missing for key in keys if prefix):
        for name in sorted(os.environ):
            head = name.upper().removesuffix(key.upper())
            is_other = head != name.upper() and not head.startswith(str(prefix))
            if is_other and SequenceMatcher(None, head, str(prefix)).ratio() > _SIMILAR:
                yield name, setup.settings.shown(key)


def _content(checkup: Checkup, path: Path, deadline: Deadline) -> str | None:
    """Return the text in the file with the secret, None if it cannot be read."""
    try:
        octets = deadline.run(limits.NETWORK, lambda _: read_file(path, "client_secret"))
    except OAuthCCError as error:
        checkup.find("secret_unreadable", error=text_of(error))
    except Hanging:  # a named pipe
        checkup.find("secret_unreadable", error=f"Nothing can be read from {str(path)!r}.")
    else:
        return octets.decode("utf-8-sig", "surrogateescape")
    return None


def _checked_secret(checkup: Checkup, text: str) -> str | None:
    """Return the secret without a line break at its end, None if it cannot be one."""
    secret = text.rstrip("\r\n")
    bare = secret.strip()
    checkup.secrets += [text, secret, bare, bare.strip("\"'")]
    if not bare:
        checkup.find("secret_empty")
        return None
    if secret != text:
        checkup.find("secret_with_newline")
    if bare != secret:
        checkup.find("secret_with_spaces")
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        checkup.find("secret_in_quotes")
    try:
        return check_text(secret, "client_secret")
    except ConfigurationError:
        checkup.find("secret_with_control_character")
        return None
