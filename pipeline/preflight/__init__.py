"""What this machine can run, checked before anything starts."""
