"""Imitations of providers' token endpoints and APIs, made from their public documentation."""

from __future__ import annotations

from . import business, commerce, health, identity, platforms
from .imitation import Imitation

MODULES = (business, commerce, health, identity, platforms)


def _named(kind: type[Imitation]) -> list[type[Imitation]]:
    below = [found for each in kind.__subclasses__() for found in _named(each)]
    return [kind, *below] if "name" in vars(kind) else below


#: Each imitation by the name of its block in docs/providers.md.
IMITATIONS = {kind.name: kind for kind in _named(Imitation)}
