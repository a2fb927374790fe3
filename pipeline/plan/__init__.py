"""The plan: every launch and cell of an experiment, in order, with whole command lines."""
