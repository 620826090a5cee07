"""DARTS and NAS-Bench-301."""
