"""The steps of a training beside attention, each one pass over its arrays and with a backward of its own.

Each has the name, the arguments, the results and the errors of the function in `ops` that defines it. What that function
computes and a kernel does not, such as rows whose squares overflow, is left to it.

Its files, in reading order:

    registers.py            formulas on registers
    fetch.py                memory asked for before it is needed
    product.py              the product with up to three matrices
    norm.py                 RMS norm and layer norm
    activation.py           gates and activation functions
    feed_forward.py         products and the gate between them, in one
    rotary.py               consecutive positions, written head by head
    loss.py                 softmax cross-entropy
    embedding.py            rows of a table
    optimise.py             a step of AdamW on one array
    beside.py               two functions at the same time
"""
