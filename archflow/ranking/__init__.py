"""Ranking architectures from a few labels."""
