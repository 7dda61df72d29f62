"""as: the chain from a user to recommendations. `as` is a Python keyword: import this package with importlib."""
