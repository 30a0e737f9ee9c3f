"""Readers, one module per file format; what they share is in `base`."""
