"""One server process: its start, health, log, port and end."""
