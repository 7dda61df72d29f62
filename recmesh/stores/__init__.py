"""Access to Redis (users, histories, items) and to Milvus (item vectors)."""
