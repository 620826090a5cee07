"""The protocol of the paper, its studies, and their tables and plots."""
