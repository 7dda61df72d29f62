"""um: who a user is, from Redis."""
