"""``python -m pipeline`` is the ``servegate`` command."""

from pipeline.cli.app import main

main()
