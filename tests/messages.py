"""The messages in the source of the library, for the test of the index of errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from oauthcc import errors
from oauthcc.token_request.transport import _TRANSLATIONS
from oauthcc.urls import _FAULTS

from .scripts import ROOT

PACKAGE = ROOT / "oauthcc"
#: A part of a message that is put in when the error is raised.
ANY = "…"


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, errors.OAuthCCError)


#: What makes an error or a line of the log, and which of its arguments is the text.
ERRORS = {each.__name__ for each in vars(errors).values() if is_error(each)}
MAKERS = {
    **dict.fromkeys(ERRORS, 0),
    "GivenUp": 0,
    "TimeoutError": 0,
    "_NotAToken": 0,
    "UnreplayableBody": 0,
    "Notice": 0,
    "warning": 0,
    "invalid": 0,
    "error": 1,
    "_error": 1,
    "_refuse": 1,
    "raise_bad_url": 2,
}


class Message(NamedTuple):
    """A text of the source with its place, for the report of a test."""

    text: str
    place: str


def text_of(node: ast.expr) -> str:
    """Return the text of an expression, with a wild card for what is not in the source."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub("%[sd]", ANY, text)
        case ast.JoinedStr(values=parts):
            return "".join(map(text_of, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left) + text_of(right)
    return ANY


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Yield the modules that users see the messages of, without the command and the servers."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in {"cli", "testing"}:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def texts() -> set[str]:
    """Return every text in the source of the library."""
    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
    return {
        text_of(node)
        for _, module in sources()
        for node in ast.walk(module)
        if isinstance(node, kinds)
    }


def messages() -> Iterator[Message]:
    """Yield every message that the library raises or writes to its log."""
    for path, module in sources():
        for node in ast.walk(module):
            text = _message(node)
            if text is not None and text.strip(ANY + " .:();"):
                yield Message(text, f"{path.relative_to(ROOT)}:{node.lineno}")
    for _, kind, text in _TRANSLATIONS:
        yield Message(text.replace("{}", ANY), kind.__name__)
    for text, _, _ in _FAULTS:
        yield Message(text, "a URL")


def _message(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            place = MAKERS.get(name)
            if place is not None and len(node.args) > place:
                return text_of(node.args[place])
        case ast.Assign(targets=[ast.Name(id="fault" | "message")], value=value):
            return text_of(value)
    return None
