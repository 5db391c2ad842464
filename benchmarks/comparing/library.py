"""The common interface of all libraries in the comparison."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
