"""Encoders: networks that turn architectures into vectors, one per file."""
