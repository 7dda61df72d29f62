"""From a data set to training rows: prepared actions, windows, statistics of each cut-off, and checks for leaks."""
