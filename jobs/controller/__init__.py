"""The controller: it watches whether the stores still hold what an ingestion left there, and starts repairs."""
