"""NAS-Bench-Macro."""
