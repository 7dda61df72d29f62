"""The models: two towers, the wide and deep parts of the ranker, and the debiased score."""
