"""What must hold, as values: a law is two ways to compute the same thing, and an error budget that is measured.

`check(law, mechanism, honest=definition, rng=...)` tries a law on any function with the definition's signature.

Its files, in reading order:

    problem.py              the arguments of one call, and their sizes
    budget.py               how large an error may be, measured
    law.py                  two ways to compute the same thing
    draw/                   how problems are drawn
    oracles/                mechanisms written a second time
    score.py                scale, cap, bias, mask
    rule.py                 score rules
    masking.py              which query sees which key
    mean.py                 a weighted mean
    heads.py                which keys a head reads; sinks
    lse.py                  the log-sum-exp and merging
    gradient.py             gradients
    terms.py                the terms of gradients that may cancel
    dtype.py                dtypes and memory layouts
    precision.py            classes of arithmetic
    recomputed.py           a backward that computes the weights again
    general.py              other forms, every mixer of tokens
    linear.py               linear attention, recurrences
    states.py               decays that are not read, tokens that only wait
    sparse.py               tables, reversed texts, hidden keys
    grid.py                 images transposed, cut, reordered
    cached.py               decoding through a cache
    forgetful.py            caches that round or forget
    run.py                  a law tried on seeded problems
"""

from tinyattn.definitions import attention, attention_with_lse, linear_attention
from tinyattn.laws import dtype, gradient, heads, linear, lse, masking, mean, rule, score
from tinyattn.laws.draw.linear import linear as linear_problem
from tinyattn.laws.draw.options import on
from tinyattn.laws.draw.sizes import four_tokens
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.general import agrees, gradients_agree
from tinyattn.laws.law import Law, judge
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.laws.run import Report, check

SAYS = "It gives the outputs of the definition."
SOFTMAX_LAWS = (agrees("the_definition", attention, says=SAYS),
                *score.LAWS, *rule.LAWS, *masking.LAWS, *mean.LAWS, *heads.LAWS, *dtype.array_laws(softmax(*ALL)))
GRADIENT_LAWS = (gradients_agree("the_definition", attention), *gradient.LAWS)
LSE_LAWS = (agrees("the_definition", attention_with_lse, says=SAYS), *lse.LAWS)
LINEAR_LAWS = (agrees("the_definition", linear_attention, draw=linear_problem, says=SAYS),
               gradients_agree("the_definition", linear_attention, draw=on(linear_problem, four_tokens)),
               *linear.LAWS, *dtype.array_laws(linear_problem))

__all__ = ["GRADIENT_LAWS", "LINEAR_LAWS", "LSE_LAWS", "SOFTMAX_LAWS", "Law", "Problem", "Report", "Sizes", "check", "judge"]
