"""Pre-training: the training loop, and one file per pretext task."""
