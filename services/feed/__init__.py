"""feed: records actions, and changes users and items; the only service that writes."""
