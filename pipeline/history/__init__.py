"""The accepted nights: an append-only store, the gate against it, and what it shows."""
