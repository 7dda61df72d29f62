"""The job that makes the Secrets of an installation: certificates and passwords."""
