"""Training: makes a release from a data set. Read pipeline.py from top to bottom."""
