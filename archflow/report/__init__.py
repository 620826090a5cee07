"""The report: a ranking as one self-contained HTML page."""
