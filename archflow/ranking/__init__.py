"""Heads: what turns columns of numbers and a few labels into a ranking."""
