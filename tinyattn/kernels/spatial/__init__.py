"""Spatial attention as kernels, in terms of the exact kernel.

Its files, in reading order:

    shifted_window.py       many small windows
    axial.py                lines of a grid
    neighborhood.py         the tiles that hold a neighbour
    locally_grouped.py      windows
    global_subsampled.py    means of blocks
"""
