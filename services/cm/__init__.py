"""cm: what items are, from Redis."""
