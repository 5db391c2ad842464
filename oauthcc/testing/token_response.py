"""Token responses and other JSON documents whose members a test chooses, valid or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class JSONText(str):
    """JSON that is sent exactly as it is written: `JSONText("1e999")`, `JSONText("null")`."""

    __slots__ = ()


OMIT: Any = object()
"""A value in `token_fields` or `metadata` that omits this member."""


class TokenResponse(dict[str, Any]):
    """A token response without a readable `repr`, because oauthlib logs it at DEBUG."""

    def __repr__(self) -> str:
        return "<token response>"


def without_omitted(*members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merged mappings, later over earlier, without the members whose value is OMIT."""
    merged: dict[str, Any] = {}
    for mapping in members:
        merged.update(mapping)
    return {name: value for name, value in merged.items() if value is not OMIT}


def with_raw_json(document: str, members: Mapping[str, Any]) -> str:
    """Return the JSON document with its JSONText members as raw JSON instead of as strings."""
    for name, value in members.items():
        if isinstance(value, JSONText):
            key = json.dumps(name)
            document = document.replace(f"{key}: {json.dumps(value)}", f"{key}: {value}")
    return document


def seconds(lifetime: Any) -> float:
    """Return a lifetime as a number of seconds; infinity if it cannot be read as a number."""
    try:
        return float(str(lifetime))
    except ValueError:
        return float("inf")
