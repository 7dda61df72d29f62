"""compact: all five services in one process, which calls the stages directly."""
