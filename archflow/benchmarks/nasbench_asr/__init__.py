"""NAS-Bench-ASR."""
