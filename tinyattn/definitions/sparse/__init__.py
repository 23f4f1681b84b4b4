"""Sparse attention: not every visible score is computed."""
