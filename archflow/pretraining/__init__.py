"""Pre-training: the one loop, and a file for each pretext task."""
