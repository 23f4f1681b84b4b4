"""What must hold, as values: a law is two ways to compute one thing, and a budget that is measured.

`check(law, mechanism, honest=definition, rng=...)` runs one on any function with the definition's signature.
"""

from tinyattn.laws import dtype, gradient, heads, linear, lse, masking, mean, score
from tinyattn.laws.draw import ALL, softmax
from tinyattn.laws.law import Law, judge
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.laws.run import Report, check

SOFTMAX_LAWS = (*score.LAWS, *masking.LAWS, *mean.LAWS, *heads.LAWS, *dtype.laws(softmax(*ALL)))
GRADIENT_LAWS = gradient.LAWS
LSE_LAWS = lse.LAWS
LINEAR_LAWS = (*linear.LAWS, *dtype.laws(linear.draw))

__all__ = ["GRADIENT_LAWS", "LINEAR_LAWS", "LSE_LAWS", "SOFTMAX_LAWS", "Law", "Problem", "Report", "Sizes", "check", "judge"]
