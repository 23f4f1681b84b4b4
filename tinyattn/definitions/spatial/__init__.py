"""Spatial attention: tokens are cells of a grid.

Its files, in reading order:

    shifted_window.py       windows of the grid, which may be shifted
    axial.py                one axis of the grid at a time
    neighborhood.py         the nearest cells
    locally_grouped.py      windows of the grid, without a shift
    global_subsampled.py    the means of blocks
    spatial_gate.py         a map of weights, one per place
    decomposed_position.py  a bias by rows and by columns
"""
