"""What ``python -m oauthcc`` runs: the same as the command ``oauthcc``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
