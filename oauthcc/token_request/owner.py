"""The session whose transport is used for token requests, and the connections of its adapters."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import requests
from requests.adapters import BaseAdapter, HTTPAdapter


class Owner:
    """The session whose transport is used, as long as that session exists.

    The reference is weak, because the session refers to us and is freed when it is dropped.
    """

    __slots__ = ("session",)

    def __init__(self) -> None:
        #: Returns the session, or None if there is none any more.
        self.session: Callable[[], requests.Session | None] = lambda: None

    def adopt(self, session: requests.Session) -> None:
        """Use the transport of this session from now on."""
        self.session = weakref.ref(session)


def drop_idle_connections(adapter: BaseAdapter) -> None:
    """Close the idle connections of an adapter. Those in use are closed when they are done.

    A connection keeps the client certificate that it was opened with, even if the files have
    changed since.
    """
    if isinstance(adapter, HTTPAdapter) and "poolmanager" in vars(adapter):
        HTTPAdapter.close(adapter)  # a subclass may be unusable after its own close()
