"""The report: what a ranking looks like, as one HTML page that needs nothing else."""
