"""Search spaces made from a person's own PyTorch models."""
