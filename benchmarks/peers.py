"""A comparison of oauthcc with other libraries, in situations for which oauthcc has a guarantee.

Every library is used as its own documentation says (comparing/libraries.py), with the servers of
oauthcc.testing, which count. Each library runs in its own process, which can connect to nothing
outside this machine. The situations are in the modules that comparing/situations.py imports.
Nothing is installed: missing packages are listed, and their columns are left out.

    python benchmarks/peers.py [--only TEXT]      situations whose name contains TEXT

It takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from comparing.libraries import LIBRARIES, forget_tokens
from comparing.library import Library, UnsupportedError, missing, versions
from comparing.situations import SITUATIONS, Situation
from comparing.world import World, stay_on_loopback

#: Seconds that one situation, and all situations of one library, may take.
PATIENCE, TOTAL_PATIENCE = 20.0, 90.0
CONCURRENCY = 4
#: The cell of a situation that a library does not support.
NONE = "-"


def observe(library: type[Library], situation: Situation) -> str:
    """Run one library in one situation, and return the result."""
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


def column(name: str, only: str) -> dict[str, str]:
    """Run one library in every situation, and return the results."""
    stay_on_loopback()
    # requests prefers these to the settings of a session.
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


def column_in_process(library: type[Library], only: str) -> dict[str, str]:
    """Return the column of one library, computed in another process."""
    command = [sys.executable, __file__, "--only", only, "--column", library.name]
    try:
        done = subprocess.run(  # noqa: S603 - it runs this file
            command, check=True, capture_output=True, text=True, timeout=TOTAL_PATIENCE
        )
    except subprocess.CalledProcessError as error:
        sys.exit(f"{library.name}: {error.stderr}")
    except subprocess.TimeoutExpired:
        return dict.fromkeys(SITUATIONS, "does not end")
    cells: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return cells


def main() -> None:
    """Compare the libraries, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--column", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.column:
        print(json.dumps(column(options.column, options.only)))
        return
    installed = [library for library in LIBRARIES if not missing(library)]
    absent = {package for library in LIBRARIES for package in missing(library)}
    if absent:
        print(f"To compare all libraries: pip install {' '.join(sorted(absent))}\n")
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        columns = list(pool.map(lambda each: column_in_process(each, options.only), installed))
    print(", ".join(f"{name} {version}" for name, version in versions(installed).items()) + "\n")
    print(f"| | {' | '.join(library.name for library in installed)} |")
    print("|---" * (len(installed) + 1) + "|")
    for title in SITUATIONS:
        if options.only in title:
            print(f"| {title} | {' | '.join(cells[title] for cells in columns)} |")


if __name__ == "__main__":
    main()
