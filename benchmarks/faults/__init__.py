"""What callers of the mesh notice of faults of its processes, links and disks."""
