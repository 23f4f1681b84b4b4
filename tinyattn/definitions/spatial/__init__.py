"""Spatial attention: tokens are cells of a grid.

Its files, in reading order:

    shifted_window.py       windows, and windows shifted
    axial.py                one axis at a time
    neighborhood.py         the nearest cells
    twins.py                windows, and means of all
    spatial_gate.py         a map of where to look
"""
