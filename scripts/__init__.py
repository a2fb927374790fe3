"""Programs that make data and runs of this project; none is part of the package."""
