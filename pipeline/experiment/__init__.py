"""An experiment file: read, checked, and as models that the rest of the pipeline works with."""
