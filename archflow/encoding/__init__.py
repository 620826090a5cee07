"""Encoders: networks that turn architectures into vectors, a file each."""
