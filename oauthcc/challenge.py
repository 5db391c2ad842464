"""The parameters of a ``WWW-Authenticate`` header (RFC 9110 section 11.6.1).

A server may send any text in this header. So nothing here raises, and the time that it takes grows
linearly with the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# What stands between two commas. A comma in a quoted string is text, and a backslash there is kept:
# without it, an escaped quote would look like the end of the string. Any text matches.
_ITEM = re.compile(r'(?s)(?:[^",]+|"(?:[^"\\]+|\\(?:.|\Z))*(?:"|\Z))+')
# A quoted string, which may contain anything, or the parameter. The value of one that is looked for
# contains no quotes. Some servers leave out the comma before or after it.
_PARAMETERS = {
    name: re.compile(rf'(?is)"(?:[^"\\]|\\.)*"?|(?<![^\s"]){name}\s*=\s*"?([^\s"]*)')
    for name in ("error", "resource_metadata")
}


def find_error(value: str | None, schemes: Collection[str] = ("bearer",)) -> str | None:
    """Return the first ``error`` in the challenges of these schemes (RFC 6750 section 3)."""
    return find_parameter(value, "error", schemes)


def find_parameter(
    value: str | None, parameter: str, schemes: Collection[str] | None = None
) -> str | None:
    """Return the first parameter of this name in the challenges of these schemes (None: of all).

    ``value`` may hold several challenges, also those of several fields joined by commas. Names of
    schemes and parameters are case-insensitive. Return None if there is no header, no such
    challenge, or no such parameter in it.
    """
    wanted, scheme = {name.lower() for name in schemes or ()}, ""
    for item in _ITEM.findall(value or ""):
        # "Basic realm=x" and "Negotiate" begin a challenge, "error=x" belongs to the last one.
        before, equals, _ = item.partition("=")
        words = before.lower().split()
        if words and (len(words) > 1 or not equals):
            scheme = words[0]
        is_wanted = schemes is None or scheme in wanted
        for match in _PARAMETERS[parameter].finditer(item) if is_wanted else ():
            if match[1] is not None:
                return match[1]
    return None
