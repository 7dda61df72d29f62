"""rank: a score for each candidate."""
