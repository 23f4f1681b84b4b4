"""Derivatives of selections."""
