"""rank: scores for candidates."""
