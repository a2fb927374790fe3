"""Accuracy jobs: questions, the client that asks them, and how answers are marked."""
