"""Low-rank attention as kernels, in terms of the exact kernel.

Its files, in reading order:

    linformer.py            mixtures of keys and values
    nystrom.py              landmarks between queries and keys
"""
