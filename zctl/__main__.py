"""python -m zctl."""

from zctl.cli.main import main

main()
