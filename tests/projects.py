"""Projects of users with tests of their own, in which pytest runs as a process of its own."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

from .scripts import ROOT


class Project:
    """A folder with tests, in an environment where this tree is installed with its plugin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self._site = folder / "site"
        # What pip would write. The tests may run without that, or with that of an older version.
        metadata = self._site / "oauthcc-0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: oauthcc\nVersion: 0\n")
        setup = configparser.ConfigParser(interpolation=None)
        setup.read(ROOT / "setup.cfg", encoding="utf-8")
        entry_point = setup["options.entry_points"]["pytest11"].strip()
        (metadata / "entry_points.txt").write_text(f"[pytest11]\n{entry_point}\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def pytest(self, *arguments: str, **environment: str) -> str:
        """Run pytest, and return what it printed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OAUTH", "COVERAGE"))}
        for name in [name for name in kept if name.startswith("PYTEST")]:
            del kept[name]  # those of the pytest that runs this
        paths = os.pathsep.join([str(ROOT), str(self._site)])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": paths, **environment},
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert "Exception ignored" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def passes(self, *arguments: str, **environment: str) -> int:
        """Run pytest, check that no test fails and that nothing is warned of; count the tests."""
        output = self.pytest("-q", *arguments, **environment)
        summary = re.fullmatch(r"(\d+) passed in .*", output.rstrip().splitlines()[-1])
        assert summary, output
        return int(summary[1])
