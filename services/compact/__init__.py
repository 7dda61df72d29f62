"""compact: all five services in one process, the stages called in process."""
