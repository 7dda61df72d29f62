"""The command lines: `recmesh` (main.py) and `client.py` (client.py)."""
