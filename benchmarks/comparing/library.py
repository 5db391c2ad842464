"""The common interface of all libraries in the comparison."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from importlib import metadata
from typing import Any, ClassVar

import requests

from .world import World

SCOPES = ["orders:read", "orders:write"]


class UnsupportedError(Exception):
    """The library does not support this situation."""


class Library(ABC):
    """One client, new for every situation; `how` is "basic", "post" or "" (the default)."""

    name: ClassVar[str]
    #: The packages to install.
    packages: ClassVar[tuple[str, ...]]
    #: The seconds before its expiry from which a token is no longer used, by default.
    margin: ClassVar[int] = 0
    needs_tls: ClassVar[bool] = False

    def __init__(
        self, world: World, secret: str | None = None, *, client_id: str = "", how: str = ""
    ) -> None:
        """Create the client; no token needs to be fetched yet."""
        self.world = world
        self.client_id = client_id or world.auth.client_id
        self.secret = secret or world.auth.client_secret
        self.session: requests.Session | None = None
        self.set_up(how)

    @abstractmethod
    def set_up(self, how: str) -> None:
        """Create the objects that the library's documentation creates."""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """Send a request to the API as the documentation does."""
        assert self.session is not None
        return self.session.request(method, url, **options)

    def objects(self) -> list[object]:
        """Return the objects that a user of the library has."""
        assert self.session is not None
        return [self.session, self.session.auth]

    def close(self) -> None:
        """Close the session, if there is one."""
        if self.session is not None:
            self.session.close()


def missing(library: type[Library]) -> list[str]:
    """Return the packages that are not installed."""
    found = []
    for package in library.packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(package)
    return found


def versions(libraries: list[type[Library]]) -> dict[str, str]:
    """Return the versions of everything that is compared."""
    names = {library.packages[0] for library in libraries if library.packages}
    packages = ["requests", "oauthlib", "urllib3", *sorted(names, key=str.lower)]
    found = {name: metadata.version(name) for name in packages}
    return {"Python": platform.python_version(), **found}
