"""What `tinyattn time` measures: one file per table.

A new table is one file here with a `TABLE`, one line below, and one line in `tinyattn/cli/time.py`.

Its files, in reading order:

    measure.py              seconds, taken in turns
    table.py                what a table is
    kept.py                 rows that are written as they are measured, beside those of earlier runs
    torch_step.py           the same training step in PyTorch
    train.py                a training step
    step_parts.py           the parts of a training step
    torch_parts.py          the same parts in PyTorch
    step.py                 where the time of a training step goes
    step_by_hand.py         decoding typed out in NumPy
    generate.py             a decoding step through each cache
    caches.py               a decoding step after a long text
    attention.py            the definition beside its formula
    import_time.py          the import of the package
    kernel_cases.py         the cases of the kernels' table
    peers.py                attention in other libraries
    model_peers.py          trained models in other libraries
    model.py                reading and writing by a trained model
    fresh.py                what only a new process can measure
    kernels.py              the kernels beside other libraries and the machine
    linear_peers.py         linear mechanisms in other libraries
    mechanism_case.py       one mechanism as it is timed, and the work that its visible pairs take
    mechanism_arguments.py  what the mechanisms take beside queries, keys and values
    mechanism_cases.py      the mechanisms that are timed
    mechanism_peers.py      the mechanisms in other libraries
    mechanisms.py           every mechanism beside its definition and dense attention
"""
