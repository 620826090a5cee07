"""Many architectures at once: a batch of directed acyclic graphs as a few flat arrays."""
