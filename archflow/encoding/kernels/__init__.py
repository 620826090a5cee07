"""The encoders' compiled loops."""
