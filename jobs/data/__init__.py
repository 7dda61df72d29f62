"""The job that makes a data set available to the other jobs."""
