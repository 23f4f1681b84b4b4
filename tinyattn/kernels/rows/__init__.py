"""What is done to a row of scores between the product with the keys and the product with the values.

Its files, in reading order:

    few.py                  rows of which few keys have a weight, and their products
    threshold.py            the keys above the threshold of sparsemax and of entmax
    queries.py              tiles of queries in a backward
    unpacked.py             products with rows as they stand in an array
    sigmoids.py             attention whose weights are sigmoids, in tiles
    weighings.py            the same on plain arrays
    roots.py                the level above whose negative the numbers of a tile's columns have a weight
    above.py                attention by the keys above a threshold in tiles, forward
    above_backward.py       the same, backward
    thresholds.py           both on plain arrays
    sticks.py               sticks broken from the right, forward
    sticks_backward.py      the same, backward
    breaking.py             both on plain arrays
    shares.py               from scores to weights in one step
    mixed.py                heads mixed before and after the softmax, forward
    mixed_backward.py       the same, backward
    mixtures.py             both on plain arrays
    skew.py                 tiles read along their diagonals
    distance_tiles.py       products with vectors of distances, on one tile
    distant.py              attention whose scores add such products, forward
    distant_backward.py     the same, backward
    distances.py            both on plain arrays
    reflect_tiles.py        products and gates on one tile of attention whose tokens reflect the queries
    reflect.py              what the tokens of a chunk do to the queries after it
    reflect_forward.py      attention by that, forward
    reflect_backward.py     the same, backward
    reflect_slopes.py       the gradient of what the tokens of a chunk do
    reflecting.py           all of them on plain arrays
"""
