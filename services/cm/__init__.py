"""cm: the fields of items, from Redis."""
