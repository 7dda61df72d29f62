"""What one request to rank may hold."""

MOST = 2_000
"""Items; the wire contract says so."""
