"""``python -m pipeline`` is the ``servegate`` command."""

from pipeline.cli.entry import main

main()
