"""Nested JSON values for property-based tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def nested(
    leaves: st.SearchStrategy[Any], names: st.SearchStrategy[str], most: int = 3
) -> st.SearchStrategy[Any]:
    """Return leaves and values that nest them up to twice.

    Not st.recursive(): some versions of hypothesis doubt that it recurses.
    """

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, max_size=most)
        return lists | st.dictionaries(names, inner, max_size=most)

    return leaves | around(leaves) | around(leaves | around(leaves))
