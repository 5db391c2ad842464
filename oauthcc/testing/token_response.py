"""Token responses and other documents whose members a test chooses, sound or odd."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class JSONText(str):
    """Hold JSON to be sent as it is written: `JSONText("1e999")`, `JSONText("null")`."""

    __slots__ = ()


OMIT: Any = object()
"""A value in `token_fields` or `metadata` that means: leave this member out."""


class Dressed(dict[str, Any]):
    """Hold a token response of which oauthlib's debug log shows nothing."""

    def __repr__(self) -> str:
        return "<token response>"


def without_omitted(*members: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings, the later over the earlier, and leave out what is OMIT in the end."""
    merged: dict[str, Any] = {}
    for mapping in members:
        merged.update(mapping)
    return {name: value for name, value in merged.items() if value is not OMIT}


def written_out(document: str, members: Mapping[str, Any]) -> str:
    """Put the members that are JSONText into a JSON document, where they stand as strings."""
    for name, value in members.items():
        if isinstance(value, JSONText):
            key = json.dumps(name)
            document = document.replace(f"{key}: {json.dumps(value)}", f"{key}: {value}")
    return document


def seconds(lifetime: Any) -> float:
    """Read a lifetime as the number it may be meant as; infinity where it is none."""
    try:
        return float(str(lifetime))
    except ValueError:
        return float("inf")
