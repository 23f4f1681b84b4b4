"""What `tinyattn compare` consists of.

Its files, in reading order:

    decoders.py             a decoder per mechanism: made, trained, timed while it writes
    pool.py                 worker processes that train several models at a time
    plan.py                 the jobs of a comparison and how long they take
    table.py                a table of 80 columns with its legend
    text.py                 the comparison on text
    caches.py               one model through many caches
    digits.py               the comparison on images of digits
    tasks.py                synthetic tasks whose answers a text determines
    learner.py              the model of the synthetic tasks
    recall.py               the comparison on synthetic tasks
"""
