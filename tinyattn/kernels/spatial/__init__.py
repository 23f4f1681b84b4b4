"""Spatial attention as kernels, in terms of the exact kernel.

Its files, in reading order:

    axial.py                lines of a grid
"""
