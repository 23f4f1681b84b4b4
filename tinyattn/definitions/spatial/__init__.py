"""Spatial attention: tokens are cells of a grid."""
