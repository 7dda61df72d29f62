"""Archiving: the log of feed into Parquet files, which trainings read; then the log is trimmed."""
