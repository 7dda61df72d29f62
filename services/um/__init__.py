"""um: the profiles and histories of users, from Redis."""
