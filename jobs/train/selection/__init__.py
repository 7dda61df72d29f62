"""Choices made on held-out lists: quotas of the channels, forms of the wide part, share of the deep part, order."""
