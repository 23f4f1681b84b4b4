"""How gradients happen: a Tensor answers NumPy's own functions, a table holds their derivatives, one walk applies them.

Its files, in reading order:

    dtypes.py               the dtypes that a Tensor may have, and the dtype of its gradient
    sums.py                 how gradients that arrive at one array are added up
    graph.py                which result was computed from which, and the walk back
    arguments.py            the arguments of a call, and the Tensors among them
    call.py                 how a call meets its row: arguments that are arrays, arguments that are refused
    record.py               how a computed value becomes a Tensor
    through.py              gradients of a function that is written with other functions
    row.py                  a row of the table at work
    table.py                the rule table: one row per NumPy function
    dispatch.py             where NumPy's calls with a Tensor arrive
    moves.py                what a Tensor does besides NumPy's functions: change its dtype, select by an index
    methods.py              the methods of ndarray, on a Tensor
    tensor.py               Tensor: an array that answers NumPy's own functions
    rules_elementwise.py    rules: each element by itself
    rules_reduce.py         rules: reductions
    rules_run.py            rules: cumulative functions
    rules_product.py        rules: products
    rules_einsum.py         rules: einsum
    rules_solve.py          rules: solutions, factors, norms
    rules_shape.py          rules: shapes and axes
    rules_join.py           rules: arrays joined and cut
    rules_index.py          rules: selected and moved elements
    rules_refused.py        functions that refuse a Tensor, with the reason
    rerun.py                gradients of a function that is run again for them
    tree.py                 trees of arrays
    grad.py                 grad, value_and_grad, vjp
    primitive.py            a function that brings its own backward
    check.py                one number that says whether a gradient is right
"""

from tinyattn.engine import (  # noqa: F401
    rules_einsum,
    rules_elementwise,
    rules_index,
    rules_join,
    rules_product,
    rules_reduce,
    rules_refused,
    rules_run,
    rules_shape,
    rules_solve,
)
from tinyattn.engine.grad import grad, value_and_grad, vjp
from tinyattn.engine.primitive import primitive
from tinyattn.engine.tensor import Tensor, no_grad

__all__ = ["Tensor", "grad", "no_grad", "primitive", "value_and_grad", "vjp"]
