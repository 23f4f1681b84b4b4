"""Score rules, compiled: a Python function becomes an expression, its derivatives by the rule table, and code for one tile.

Its files, in reading order:

    expression.py           what a rule computes, as a graph of operations
    functions.py            each operation on registers
    same.py                 whether a rule is still what it was
    tracer.py               a rule called once with tracers
    slopes.py               its derivatives, by the rows of the rule table
    native.py               machine code, kept on disk
    code.py                 the code of a rule and of its derivatives for one tile
    uncompiled.py           the same in NumPy
    tiles.py                rules as the kernels call them
"""
