"""The mesh on this machine: what `make up` and the related targets run."""
