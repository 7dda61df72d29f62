"""The deployables: one package for each service, and compact, which is all of them in one process."""
