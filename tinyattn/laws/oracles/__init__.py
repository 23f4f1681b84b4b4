"""Mechanisms written a second time for the laws to compare: as loops over positions, or by other mechanisms.

Its files, in reading order:

    calls.py                another mechanism with fewer options
    variants.py             attention with one thing changed
    weighting.py            weights that are not a plain softmax
    relative.py             scores of how tokens relate, pair by pair
    linear.py               weights of every pair, one matrix
    solved.py               a regression over all past tokens, levels pair by pair
    states.py               further states, pair by pair or by other mechanisms
    delta.py                products of transitions
    gathered.py             sparse attention row by row
    factored.py             outer products one by one, an indexer row by row
    lowrank.py              projections and landmarks
    sparse.py               sparse attention by other mechanisms
    grid.py                 a grid cell by cell, part by part
    caches.py               what caches that forget or round give
"""
