"""as: the chain from a user to recommendations.

`as` is a Python keyword, so this package holds only what `python -m services.as` needs; see recmesh/chain.
"""
