"""How gradients happen: Tensor answers NumPy's protocols, a table holds the derivatives, one walk applies them.

Its files, in reading order:

    dtypes.py               what dtype a Tensor has, what carries its gradient
    graph.py                who was computed from whom, and the one walk back
    arguments.py            where the Tensors of a call are
    call.py                 how a call meets its row: names, refusals, lists
    record.py               how a computed value becomes a Tensor
    table.py                the rule table: one row per NumPy function
    dispatch.py             where NumPy's calls with a Tensor arrive
    moves.py                the moves a Tensor makes itself: dtype, index, solve
    methods.py              the methods of ndarray, on a Tensor
    tensor.py               Tensor: an array that answers NumPy's own functions
    rules_elementwise.py    rows: each element alone
    rules_reduce.py         rows: fold an axis
    rules_run.py            rows: run along an axis
    rules_product.py        rows: products
    rules_einsum.py         rows: einsum
    rules_solve.py          rows: solutions, factors, norms
    rules_shape.py          rows: elements in other places
    rules_join.py           rows: arrays joined and cut
    rules_index.py          rows: selections
    rules_refused.py        rows that refuse, with the reason
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
