"""``python -m pipeline`` is the ``servegate`` command."""

from pipeline.cli import main

main()
