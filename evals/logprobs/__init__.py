"""Log-probability jobs: greedy continuations of fixed texts, token by token."""
