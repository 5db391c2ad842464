"""The runner: as that of the other fuzz targets."""

from __future__ import annotations

import sys

from ..fuzz.__main__ import main
from .targets import TARGETS

if __name__ == "__main__":
    found = {target.__name__: target for target in TARGETS}
    sys.exit(main(prog="python -m tests.differential", targets=found))
