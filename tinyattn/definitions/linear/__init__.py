"""Linear attention: a state in the place of the keys.

Its files, in reading order:

    linear.py               linear attention: parallel, recurrent, chunked
    gated.py                a state whose channels fade
    retention.py            a state that fades as a whole
    delta.py                a state that is corrected
"""
