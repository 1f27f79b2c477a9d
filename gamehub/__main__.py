"""`python -m gamehub`: the command line."""

from __future__ import annotations

from gamehub.cli import main

if __name__ == "__main__":
    main()
