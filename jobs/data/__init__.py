"""Brings a data set to where the other jobs read it."""
