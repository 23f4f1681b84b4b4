"""Low rank: fewer keys than tokens stand for all of them.

Its files, in reading order:

    linformer.py            keys projected to a shorter length
    nystrom.py              landmarks between queries and keys
"""
