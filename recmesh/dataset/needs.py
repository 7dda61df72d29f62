"""What training needs of a data set."""

MIN_USERS, MIN_ITEMS, MIN_ACTIONS = 10, 10, 50
"""Smaller data sets are refused: a model fitted on fewer could not be evaluated."""
