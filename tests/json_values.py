"""JSON values for property tests, nested as deep as it takes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def nested(
    leaves: st.SearchStrategy[Any], names: st.SearchStrategy[str], most: int = 3
) -> st.SearchStrategy[Any]:
    """Nest leaves up to twice: some versions of hypothesis doubt that st.recursive() recurses."""

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, max_size=most)
        return lists | st.dictionaries(names, inner, max_size=most)

    return leaves | around(leaves) | around(leaves | around(leaves))
