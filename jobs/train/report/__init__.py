"""The report of a release: measured on the held-out window while that is in memory, written as figures and a page."""
