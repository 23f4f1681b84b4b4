"""How gradients happen: Tensor answers NumPy's protocols, a table holds the derivatives, one walk applies them."""

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
