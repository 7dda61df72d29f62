"""`recmesh top`: what the services count, as a view on a terminal.

`scrape` reads the pages of the metrics ports, `window` compares two readings, `report` computes what is shown, `view`
formats it, and `command` is the command line.
"""
