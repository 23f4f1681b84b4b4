"""How the kernels are called; the definitions are the reference."""

from functools import partial
from inspect import signature

import numpy as np
from door import Door

from tinyattn import definitions, kernels
from tinyattn.catalog import ROWS
from tinyattn.laws.problem import Sizes
from tinyattn.ops.options import check_bias
from tinyattn.ops.quantize import dequantize, quantize

MODULE = kernels
RNG = np.random.default_rng
OPTIONS = ("mask", "bias", "causal", "window", "scale", "softcap", "sinks")


def attention(q_len, kv_len, dtype=np.float64, **given):
    """Arguments of attention with 4 heads on 2 and every option, so that a batch of 2 has as many entries as kv heads."""
    rng = RNG(0)
    q, k, v = (rng.standard_normal((2, heads, n, d)).astype(dtype) for heads, n, d in ((4, q_len, 16), (2, kv_len, 16), (2, kv_len, 16)))
    options = {"mask": rng.random((4, q_len, kv_len)) < 0.9, "bias": rng.standard_normal((4, q_len, kv_len)), "causal": True,
               "window": (90, 3), "scale": 0.3, "softcap": 5.0, "sinks": rng.standard_normal(4)}
    return {"q": q, "k": k, "v": v, **options, **given}


def paged():
    """Arguments of attention over pages: two rows of other lengths."""
    rng = RNG(1)
    keys, values = rng.standard_normal((2, 6, 2, 4, 32))
    return {"q": rng.standard_normal((2, 4, 2, 32)), "keys": keys, "values": values, "tables": np.array([[5, 0, 1], [2, 1, 3]]),
            "lengths": np.array([6, 9]), "bias": rng.standard_normal((4, 2, 9)), "window": (7, 0), "scale": 0.3, "softcap": 5.0,
            "sinks": rng.standard_normal(4)}


def gathered(q, keys, values, tables, lengths, **options):
    """Attention over pages by the definition, a row at a time."""
    bias, outs = options.pop("bias", None), []
    check_bias(bias, (*q.shape[:-1], max(lengths)), q.dtype)
    for row, length in enumerate(lengths):
        k, v = (np.concatenate([x[page] for page in tables[row]], axis=-2)[:, :length] for x in (keys, values))
        some = None if bias is None else np.broadcast_to(bias, (*q.shape[:-1], max(lengths)))[row, ..., :length]
        outs.append(definitions.attention(q[row], k, v, bias=some, causal=True, **options))
    return np.stack(outs)


def quantized():
    """Arguments of attention over 16 tokens in codes and 4 that are not."""
    rng = RNG(2)
    x, new = rng.standard_normal((2, 2, 16, 32)), rng.standard_normal((2, 2, 2, 4, 32))
    return {"q": rng.standard_normal((2, 4, 2, 32)), "keys": quantize(x, bits=8, group=8, axis=-2),
            "values": quantize(x, bits=8, group=32, axis=-1), "new_keys": new[0], "new_values": new[1],
            "bias": rng.standard_normal((4, 2, 20)), "window": (7, 0), "scale": 0.3, "softcap": 5.0, "sinks": rng.standard_normal(4)}


def unpacked(q, keys, values, new_keys, new_values, **options):
    """Attention over codes by the definition, of the numbers that they stand for."""
    k, v = (np.concatenate((dequantize(old), new), axis=-2) for old, new in ((keys, new_keys), (values, new_values)))
    return definitions.attention(q, k, v, causal=True, **options)


def sampled(name):
    """Arguments of a mechanism of the catalog, by the names of its own parameters."""
    definition = getattr(definitions, name)
    row = next(row for row in ROWS if definition in (row.definition, *row.forms.values()))
    p, made = row.sample(RNG(3), row.fit(Sizes((2,), 2, 2, 24, 24, 16, 16))), {}

    def noted(*given, **options):
        made.update(signature(definition).bind(*given, **options).arguments)
        return definition(*given, **options)

    p.call(row.called(noted))
    return made


def mechanism(name):
    """The door of a mechanism that has a kernel."""
    options = signature(getattr(definitions, name)).parameters.values()
    return Door(partial(sampled, name), reference=getattr(definitions, name), optional=tuple(o.name for o in options if o.default is None),
                work=("block",))


DOORS = {
    **{name: mechanism(name) for name in sorted(set(kernels.__all__) & set(definitions.__all__))},
    "attention": Door(partial(attention, 20, 20), reference=definitions.attention, optional=OPTIONS),
    "attention_with_lse": Door(partial(attention, 2, 130), reference=definitions.attention_with_lse, optional=OPTIONS),
    "paged_attention": Door(paged, reference=gathered, optional=OPTIONS),
    "quantized_attention": Door(quantized, reference=unpacked, optional=OPTIONS),
    "threads": Door(lambda: {"number": 2}),
}
