"""The job that makes a release whose ranker or towers were exported by PaddleRec's tools."""
