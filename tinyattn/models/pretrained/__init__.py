"""Trained models of many families: one row of a table per family, one forward pass for all.

Its files, in reading order:

    families.py             what each family of models is made of, as data
    config_values.py        the values of a config, checked
    scaling.py              the rotary frequencies that a config asks for
    transformer.py          the model that all families are built into
    parts.py                matrices and norms by their names in a file
    build.py                a model made from a config and tensors
    gguf_models.py          the config and the tensors in a GGUF file
    tokens.py               texts as tokens and back
    pooling.py              one vector for a text
    weights.py              the bytes of all weights, and which are not finite
    losses.py               how surprised a model is by each token
    model.py                a loaded model
    compared.py             what a change of a model costs
    heads.py                what the heads of a model look at
    experiments.py          claims of papers, measured on a model
    load.py                 loading a model from a folder or a file
    attention_only.py       the attention of one layer
"""
