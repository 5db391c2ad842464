"""The configuration of the documentation site: ``make docs`` builds it with Sphinx."""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

import oauthcc

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "oauthcc"
author = "The oauthcc authors"
project_copyright = f"2026, {author}"
version = release = oauthcc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
exclude_patterns = ["drawings.py", "screenshots.py", "conf.py"]
# What a reader copies from a block of shell commands is the commands.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = "oauthcc"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
nitpicky = True
# Types of other projects, whose sites cannot be asked while this one is built, and the type of a
# header, which is a string to its users.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!oauthcc\.).+"),
    (r"py:class", r"oauthcc\.redaction\.header\.SecretHeader"),
]

#: Pages of the site that are files beside this folder.
ELSEWHERE = {
    "benchmarks": "benchmarks/README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "examples": "examples/README.md",
    "security": "SECURITY.md",
}
EXAMPLES = [*sorted(ROOT.glob("examples/*.py")), *sorted(ROOT.glob("examples/testing/*.py"))]
PAGES = {ROOT / file: DOCS / f"{name}.md" for name, file in ELSEWHERE.items()}
PAGES[ROOT / "examples"] = DOCS / "examples.md"
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s#]+)(#[^)\s]+)?(?=\))")
# How GitHub shows a picture in two colors. Furo does it with classes.
PICTURE = re.compile(
    r'<picture>\s*<source [^>]*srcset="(?P<dark>[^"]+)">\s*'
    r'<img src="(?P<light>[^"]+)" alt="(?P<text>[^"]+)">\s*</picture>'
)


def read_page(_: Any, docname: str, source: list[str]) -> None:
    """Read a page that is a file beside this folder, and make links to such files work."""
    file = ROOT / ELSEWHERE[docname] if docname in ELSEWHERE else DOCS / f"{docname}.md"
    text = file.read_text(encoding="utf-8") if docname in ELSEWHERE else source[0]
    page = DOCS / docname

    def target(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(file.parent / link[1]))
        anchor = link[2] or ""
        if path == ROOT / "README.md":  # of its parts, only the promises are linked
            path, anchor = DOCS / ("guarantees.md" if anchor else "index.md"), ""
        if path in EXAMPLES:
            path, anchor = DOCS / "examples.md", f"#{re.sub(r'[/.]', '', example_name(path))}"
        path = PAGES.get(path, path)
        relative = os.path.relpath(path, page.parent)
        return f"{relative}{anchor}" if path.is_relative_to(DOCS) else f"path:{relative}"

    def both(picture: re.Match[str]) -> str:
        return "\n".join(
            f'<img src="{os.path.relpath(file.parent / picture[color], page.parent)}"'
            f' class="only-{color}" alt="{picture["text"]}">'
            for color in ("light", "dark")
        )

    source[0] = PICTURE.sub(both, LINK.sub(target, text))
    if docname == "examples":
        for path in EXAMPLES:
            shown = f"```{{literalinclude}} ../{path.relative_to(ROOT)}\n```"
            source[0] += f"\n## {example_name(path)}\n\n{shown}\n"


def example_name(path: Path) -> str:
    return path.relative_to(ROOT / "examples").as_posix()


def as_rest(_: Any, kind: str, name: str, what: Any, options: Any, lines: list[str]) -> None:
    """Translate the Markdown of our docstrings: code in backticks, and fenced blocks."""
    text = re.sub(r"(?<![`:\w])`([^`\n]+)`(?!`)", r"``\1``", "\n".join(lines))
    lines[:] = re.sub(
        r"^```(\w+)\n(.*?)^```$",
        lambda block: f".. code-block:: {block[1]}\n\n" + re.sub("(?m)^", "    ", block[2]),
        text,
        flags=re.MULTILINE | re.DOTALL,
    ).split("\n")


def setup(app: Any) -> None:
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", as_rest)
