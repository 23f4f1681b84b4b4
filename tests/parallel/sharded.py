"""One problem on one process and on many: what each gives, and the error that each may have."""

import numpy as np

from tinyattn import definitions
from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import anywhere, growing, of_logs, sufficient
from tinyattn.laws.problem import REGIMES, Sizes, arrays
from tinyattn.ops import masks
from tinyattn.parallel import Layout, contiguous, threads, zigzag

NAMES = ("out", "lse", "d_q", "d_k", "d_v", "d_sinks")


def random_layout(rng, length, ranks):
    """Draws any layout: random cuts dealt to random ranks, some of which may have nothing."""
    ends = np.unique([0, length, *rng.integers(0, length + 1, int(rng.integers(0, 7)))]).tolist()
    spans = list(zip(ends[:-1], ends[1:], strict=True))
    owners = rng.integers(0, ranks, len(spans))
    return Layout(length, tuple(tuple(span for span, owner in zip(spans, owners, strict=True) if owner == rank) for rank in range(ranks)))


def drawn_layout(rng, length, ranks):
    """Draws a layout of any of the three kinds."""
    return (contiguous, zigzag, lambda n, p: random_layout(rng, n, p))[int(rng.integers(3))](length, ranks)


def drawn(rng, dtype="float32", *, causal=None, sinks=None, lengths=(0, 1, 2, 7, 20, 33)):
    """Draws a problem of self-attention with the options that every scheme takes."""
    length = int(rng.choice(lengths))
    leading = ((), (1,), (2,))[int(rng.integers(3))]
    sizes = Sizes(leading=leading, kv_heads=int(rng.choice([1, 2, 3])), groups=int(rng.choice([1, 2, 3])), q_len=length, kv_len=length,
                  head_dim=int(rng.choice([1, 4, 5])), value_dim=int(rng.choice([1, 3])), regime=str(rng.choice(REGIMES)), dtype=dtype)
    options = {}
    if rng.random() < 0.6 if causal is None else causal:
        options["causal"] = True
    if rng.random() < 0.3:
        options["window"] = ((2, 0), (0, 0), (5, 2), (None, 1), (3, None))[int(rng.integers(5))]
    if rng.random() < 0.5:
        options["mask"] = (masks.documents(rng.integers(0, 3, (*leading[-1:], length)) if leading else np.sort(rng.integers(0, 3, length))),
                           masks.strided(2) | masks.first(1), ~masks.first(length // 2), masks.block_local(4))[int(rng.integers(4))]
    if rng.random() < 0.3:
        options["softcap"] = 2.0
    if rng.random() < 0.3:
        options["scale"] = float(rng.choice([0.3, 1.0, -0.5]))
    if rng.random() < 0.4 if sinks is None else sinks:
        options["sinks"] = rng.standard_normal(sizes.heads).astype(dtype)
    return arrays(rng, sizes, **options)


def seeds_of(p):
    """Returns d_out and d_lse of a problem."""
    rows, width = p.q.shape[:-1], p.v.shape[-1]
    size = int(np.prod(rows))
    return (np.cos(np.arange(size * width)).reshape(*rows, width).astype(p.q.dtype),
            np.sin(np.arange(size)).reshape(rows).astype(p.q.dtype))


def differentiable(p):
    """Returns the arrays of a problem that are differentiated, and its other options."""
    options = dict(p.options)
    sinks = options.pop("sinks", None)
    return [p.q, p.k, p.v, *([] if sinks is None else [sinks])], options


def named(x, options):
    return {**options, **({"sinks": x[3]} if len(x) > 3 else {})}


def one_process(_, p, attend=definitions.attention_with_lse):
    """Returns out, lse and the gradients on one process, by the definition or by another form of it."""
    x, options = differentiable(p)
    (out, lse), pull = vjp(lambda t: attend(*t[:3], **named(t, options)), x)
    return (out, lse, *pull(seeds_of(p)))


def on_ranks(scheme, p, layout):
    """Returns the same of the parts that each rank computes, put together; sums for what all ranks share."""
    x, options = differentiable(p)
    d_out, d_lse = seeds_of(p)

    def program(comm):
        rank = comm.Get_rank()
        mine = [*(layout.take(a, rank) for a in x[:3]), *x[3:]]
        (out, lse), pull = vjp(lambda t: scheme(*t[:3], comm, layout, **named(t, options)), mine)
        return (out, lse, *pull((layout.take(d_out, rank), layout.take(d_lse, rank, -1))))

    parts = list(zip(*threads.run(layout.ranks, program), strict=True))
    found = [layout.put(part, -1 if name == "lse" else -2) for name, part in zip(NAMES[:5], parts[:5], strict=True)]
    return (*found, *(sum(part) for part in parts[5:]))


def spent(p, got, rng):
    """Returns the largest error in budgets: of out and the gradients, and of lse."""
    def without_logs(f, p):
        out, _, *gradients = one_process(f, p)
        return (out, *gradients)

    def logs(_, p):
        return p.call(definitions.attention_with_lse)[1:]

    parts = ((without_logs, anywhere, (got[0], *got[2:])), (logs, of_logs, got[1:2]))
    return max(sufficient(growing((side,), None, p, rng, reorder=False, pool=pool), part).spent(part) for side, pool, part in parts)
