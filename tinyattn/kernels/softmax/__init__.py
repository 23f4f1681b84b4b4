"""The softmax mechanisms as kernels.

Its files, in reading order:

    dot_product.py          attention, with its checks
"""
