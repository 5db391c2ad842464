"""What other libraries do where oauthcc makes a promise, side by side, counted by the same servers.

Every library is used as its own documentation says (comparing/libraries.py) against the embedded
servers of oauthcc.testing, each in a process of its own that can reach nothing beyond this machine.
What is done to them is told in the files that comparing/situations.py names. Nothing is installed:
what is missing is named, and its column left out.

    python benchmarks/peers.py [--only TEXT]      situations whose name holds TEXT

It takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

from comparing.libraries import LIBRARIES
from comparing.library import Library, UnsupportedError
from comparing.situations import SITUATIONS, Situation
from comparing.world import World, stay_on_loopback

#: Seconds that one situation, and one library, may take.
PATIENCE, PATIENCE_OF_ALL = 20.0, 90.0
AT_ONCE = 4
#: What is not there for a library.
NONE = "-"


def missing(library: type[Library]) -> list[str]:
    """Name the packages that are not installed."""
    found = []
    for package in library.packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            found.append(package)
    return found


def versions(libraries: list[type[Library]]) -> str:
    """Tell what was compared."""
    names = {library.packages[0] for library in libraries if library.packages}
    told = [f"{name} {metadata.version(name)}" for name in sorted(names, key=str.lower)]
    own = [f"{name} {metadata.version(name)}" for name in ("requests", "oauthlib", "urllib3")]
    return f"Python {platform.python_version()}, " + ", ".join([*own, *told])


def observe(library: type[Library], situation: Situation) -> str:
    """Put one library into one situation; say what was seen, or that it did not end."""
    seen: list[str] = []

    def run() -> None:
        try:
            with World(tls=library.needs_tls) as world:
                seen.append(situation(library, world))
        except UnsupportedError:
            seen.append(NONE)
        except Exception as error:  # noqa: BLE001 - a failure is an observation
            seen.append(type(error).__name__)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return seen[0] if seen else "does not end"


def forget_tokens() -> None:
    """Empty the one cache that is shared by all of a process, as a new process would."""
    if "requests_auth" in sys.modules:
        sys.modules["requests_auth"].OAuth2.token_cache.clear()


def column(name: str, only: str) -> dict[str, str]:
    """Put one library into every situation."""
    stay_on_loopback()
    # requests lets these go before what is set on a session.
    for variable in [v for v in os.environ if v.lower().endswith(("_proxy", "_ca_bundle"))]:
        del os.environ[variable]
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    library = next(library for library in LIBRARIES if library.name == name)
    cells = {}
    for title, situation in SITUATIONS.items():
        if only in title:
            cells[title] = observe(library, situation)
            forget_tokens()
    return cells


def started(library: type[Library], only: str) -> dict[str, str]:
    """Have another process do one column."""
    command = [sys.executable, __file__, "--only", only, "--column", library.name]
    try:
        done = subprocess.run(  # noqa: S603 - it is this very file
            command, check=True, capture_output=True, text=True, timeout=PATIENCE_OF_ALL
        )
    except subprocess.CalledProcessError as error:
        sys.exit(f"{library.name}: {error.stderr}")
    except subprocess.TimeoutExpired:
        return dict.fromkeys(SITUATIONS, "does not end")
    cells: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return cells


def main() -> None:
    """Compare, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--column", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.column:
        print(json.dumps(column(options.column, options.only)))
        return
    there = [library for library in LIBRARIES if not missing(library)]
    absent = {package for library in LIBRARIES for package in missing(library)}
    if absent:
        print(f"Left out for want of: pip install {' '.join(sorted(absent))}\n")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        columns = list(pool.map(lambda library: started(library, options.only), there))
    print(f"{versions(there)}\n")
    print(f"| | {' | '.join(library.name for library in there)} |")
    print("|---" * (len(there) + 1) + "|")
    for title in SITUATIONS:
        if options.only in title:
            print(f"| {title} | {' | '.join(cells[title] for cells in columns)} |")


if __name__ == "__main__":
    main()
