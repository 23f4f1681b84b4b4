"""Trained models of many families: one row of a table per family, one forward pass for all.

Its files, in reading order:

    families.py             what each family of models is made of, as data
    scaling.py              the rotary frequencies that a config asks for
    transformer.py          the model that all families are built into
    build.py                a model out of a config and tensors
"""
