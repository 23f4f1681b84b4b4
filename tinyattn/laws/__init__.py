"""What must hold, as values: a law is two ways to compute one thing, and a budget that is measured.

`check(law, mechanism, honest=definition, rng=...)` runs one on any function with the definition's signature.

Its files, in reading order:

    problem.py              a call's arguments, and the sizes they are drawn in
    budget.py               how large an error may be: measured
    law.py                  two ways to compute one thing
    draw.py                 how problems are drawn
    score.py                scale, cap, bias, mask
    masking.py              who sees whom
    mean.py                 a weighted mean
    heads.py                which keys a head reads; sinks
    lse.py                  the log-sum-exp and merging
    gradient.py             slopes
    forms.py                another form of the same
    gathered.py             sparse attention row by row
    linear.py               linear attention and its states
    dtype.py                dtypes and layouts
    general.py              what needs no oracle
    recurrent.py            states that fade or are corrected
    cached.py               cached is full
    spatial.py              cells of a grid
    forgetting.py           what caches equal that forget or round
    run.py                  a law tried on seeded problems
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
