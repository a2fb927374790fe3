"""The command line: the app and one module a command."""
