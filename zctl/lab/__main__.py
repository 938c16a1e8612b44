"""`python -m zctl.lab`: the same as `zctl lab`."""

from __future__ import annotations

from zctl.cli.lab import main

if __name__ == "__main__":
    main()
