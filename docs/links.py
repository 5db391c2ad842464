"""Check the links of the built site without a network: ``python -m docs.links build/site``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places of a page that others may link to, and what the page links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)
            elif name == "srcset" and value:
                self.links += [each.split()[0] for each in value.split(",") if each.strip()]


def broken_links(site: Path) -> Iterator[str]:
    """Yield each link of each page whose file or anchor does not exist in the site.

    A file beside the site does not count: it is there only where the site was built.
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in sorted(pages.items()):
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            exists = target.is_file() and target.is_relative_to(site)
            if not exists or (parts.fragment and unquote(parts.fragment) not in anchors):
                yield f"{path.relative_to(site)}: {link}"


if __name__ == "__main__":
    found = list(broken_links(Path(sys.argv[1]).resolve()))
    print("\n".join(found) or "All links of the site lead to a file or an anchor of the site.")
    sys.exit(bool(found))
