"""What is done to a row of scores between the product with the keys and that with the values.

Its files, in reading order:

    few.py                  rows of which few keys have a weight, and their products
    threshold.py            the keys above the threshold of sparsemax and of entmax
    scan.py                 products and sums of all numbers on one side of each
    sticks.py               sticks broken from the right
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
