"""import_model: models that PaddleRec's tools exported become the ranker or the towers of a release."""
