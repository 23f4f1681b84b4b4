"""Spatial attention as kernels, in terms of the exact kernel.

Its files, in reading order:

    by_windows.py           some windows at a time, copied out of the text and back
    shifted_window.py       many small windows
    axial.py                lines of a grid
    neighborhood.py         the tiles that hold a neighbour
    locally_grouped.py      windows
    global_subsampled.py    means of blocks
"""
