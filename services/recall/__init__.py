"""recall: a few hundred candidates out of all items, from several channels."""
