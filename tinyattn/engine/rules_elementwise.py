"""Derivatives of functions that act on each element alone."""

import numpy as np

from tinyattn.engine.table import constant, rule

rule(np.positive, lambda x: lambda g: g)
rule(np.negative, lambda x: lambda g: -g)
rule(np.add, lambda a, b: lambda g: g,
             lambda a, b: lambda g: g)
rule(np.subtract, lambda a, b: lambda g: g,
                  lambda a, b: lambda g: -g)
rule(np.multiply, lambda a, b: lambda g: g * b,
                  lambda a, b: lambda g: g * a)
rule(np.divide, lambda a, b: lambda g: g / b,
                lambda out, a, b: lambda g: -g * out / b)
rule(np.exp, lambda out, x: lambda g: g * out)
rule(np.log, lambda x: lambda g: g / x)
rule(np.tanh, lambda out, x: lambda g: g * (1.0 - out * out))
rule(np.sqrt, lambda out, x: lambda g: g * 0.5 / out)
rule(np.square, lambda x: lambda g: g * 2.0 * x)
rule(np.where, None,
     lambda condition, a, b: lambda g: np.where(condition, g, 0.0),
     lambda condition, a, b: lambda g: np.where(condition, 0.0, g))
constant("piecewise constant", np.floor, np.ceil, np.rint, np.trunc, np.sign)
constant("boolean", np.isfinite, np.isnan, np.isinf, np.equal, np.not_equal, np.less, np.less_equal, np.greater,
         np.greater_equal)
