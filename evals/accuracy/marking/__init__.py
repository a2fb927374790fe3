"""How an answer's text is read and marked, the same for every arm."""
