"""Low rank: queries attend to fewer vectors than there are tokens.

Its files, in reading order:

    linformer.py            keys and values projected to a shorter length
    nystrom.py              attention through a few landmarks
"""
