"""The run: launches in the order of the plan, one record a cell."""
