"""`recmesh verify`: whether a running mesh keeps its contract, checked from outside."""
