"""Exact attention: every visible score is computed."""
