"""Everything that happens in or to a server process."""
