"""``python -m registry`` is the command ``airlock``."""

from registry.cli.main import main

main()
