"""Ingestion: a data set into Redis, the item vectors of a release into Milvus, then its activation."""
