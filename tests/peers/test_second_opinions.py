"""Definitions beside code of others that shares no line with them: outputs and gradients in float64, within 1e-10."""

import importlib
import importlib.util
import re
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from tinyattn import definitions, vjp

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
LENGTH, HEADS, WIDTH, VALUES, STEPS, GRID = 21, 2, 4, 5, 3, (3, 7)
QKV = ("q", "k", "v")


def drawn(names):
    """Returns arrays of these kinds; gates are in the ranges that the definitions take."""
    rng, token = np.random.default_rng(0), (2, HEADS, LENGTH)
    steps = (2, HEADS, STEPS * LENGTH)
    kinds = {
        "q": lambda: rng.standard_normal((*token, WIDTH)), "k": lambda: rng.standard_normal((*token, WIDTH)) / 2,
        "v": lambda: rng.standard_normal((*token, VALUES)), "square": lambda: rng.standard_normal((*token, WIDTH)),
        "keys": lambda: rng.standard_normal((*steps, WIDTH)) / 2, "values": lambda: rng.standard_normal((*steps, VALUES)),
        "strengths": lambda: rng.random(steps), "beta": lambda: rng.random(token), "log_decay": lambda: -rng.random(token),
        "channels": lambda: -rng.random((*token, WIDTH)), "read": lambda: rng.standard_normal((*token, WIDTH)) / 4,
        "write": lambda: rng.standard_normal((*token, WIDTH)) / 4, "aside": lambda: rng.standard_normal((*token, WIDTH)) / 4,
        "erase": lambda: rng.random((*token, WIDTH)), "keep": lambda: rng.random((*token, VALUES)),
        "bonus": lambda: rng.standard_normal((HEADS, WIDTH)), "ridge": lambda: 0.5 + rng.random((HEADS, WIDTH)),
        "slopes": lambda: rng.random(HEADS), "level_scales": lambda: rng.random((*token, 6)), "w": lambda: rng.standard_normal((*token, WIDTH)) / 2,
        "input_gate": lambda: 2 * rng.standard_normal(token), "forget_gate": lambda: 2 + rng.standard_normal(token),
        "relative": lambda: rng.standard_normal((HEADS, 2 * LENGTH - 1, WIDTH)), "table": lambda: rng.standard_normal((HEADS, 8, WIDTH)),
        "other_table": lambda: rng.standard_normal((HEADS, 8, WIDTH)), "u": lambda: rng.standard_normal((HEADS, WIDTH)),
        "other_u": lambda: rng.standard_normal((HEADS, WIDTH)), "table_y": lambda: rng.standard_normal((2 * GRID[0] - 1, WIDTH)),
        "table_x": lambda: rng.standard_normal((2 * GRID[1] - 1, WIDTH)), "taps": lambda: rng.standard_normal((LENGTH, 3)),
        "bias": lambda: rng.standard_normal(LENGTH)}
    return {name: kinds[name]() for name in names}


def fla(file, function):
    """Returns a function of one of fla's plain files, in which casts to float32 are made casts to float64; None if fla is not here."""
    found = importlib.util.find_spec("fla")
    if found is None:
        return None
    text = (Path(next(iter(found.submodule_search_locations))) / "ops" / f"{file}.py").read_text().replace(".float()", ".double()")
    module = types.ModuleType(f"fla_{file.replace('/', '_')}")
    exec(compile(re.sub(r"torch\.float(32)?\b", "torch.float64", text).replace("@torch.no_grad\n", ""), file, "exec"), module.__dict__)
    return getattr(module, function)


def transformers(model, name):
    """Returns an object of the plain path of one of the models of transformers; None if it is not here."""
    found = importlib.util.find_spec("transformers")
    return found and getattr(importlib.import_module(f"transformers.models.{model}.modeling_{model}"), name)


def by_token(file, function, *names, pick=0, **options):
    """Returns the call of a function of fla that takes heads behind the tokens, (batch, length, heads, ...), as those without tokens are."""
    def call(t):
        out = fla(file, function)(*(t[name].transpose(1, 2) if t[name].ndim > 2 else t[name] for name in names), **options)
        return (out if pick is None else out[pick]).transpose(1, 2)
    return call


def by_head(file, function, *names, **options):
    """Returns the call of a function of fla that takes heads before the tokens, as ours do."""
    return lambda t: fla(file, function)(*(t[name] for name in names), **options)[0]


def ours(mechanism, *arrays, scale=None, **options):
    """Returns the call of a definition; the values of options that are text are names of drawn arrays."""
    scaled = {} if scale is None else {"scale": scale}
    return lambda t: getattr(definitions, mechanism)(*(t[name] for name in arrays or QKV), **scaled,
                                                     **{n: t[x] if isinstance(x, str) else x for n, x in options.items()})


def generalized(t, read, write, decay, v=None, scale=None):
    """Returns the generalized delta rule with these vectors."""
    return definitions.generalized_delta_rule(t["q"], t["k"], t["v"] if v is None else v, log_decay=decay, read=read, write=write, scale=scale)


def comba(t, read):
    """Returns Comba in terms of the generalized delta rule, with one decay per token."""
    return generalized(t, -t["beta"][..., None] * read, t["k"], t["log_decay"][..., None] + np.zeros(WIDTH), t["v"] * t["beta"][..., None])


def dplr_of_rwkv7(t):
    return fla("generalized_delta_rule/dplr/naive", "dplr_recurrence")(*(t[n] for n in QKV), -t["read"], t["read"] * t["write"], t["channels"])[0]


def decays_of_slopes(t):
    decays = -t["slopes"].expand(2, LENGTH, HEADS)
    return fla("simple_gla/naive", "naive_recurrent_simple_gla")(*(t[n].transpose(1, 2) for n in QKV), decays, scale=1.0)[0].transpose(1, 2)


def reflected(t):
    """PaTH of fla, which scales the gates too: they are divided by the scale before."""
    turned = [t[name].transpose(1, 2) for name in (*QKV, "w", "beta", "log_decay")]
    return fla("path_attn/naive", "naive_path_attn")(*turned[:-1], turned[-1] / 0.5, 0.5, chunk_size=8).transpose(1, 2)


def xlstm(t):
    import torch
    step = transformers("xlstm", "mlstm_recurrent_step_native")
    state = [torch.zeros(2, HEADS, *axes, dtype=torch.float64) for axes in ((WIDTH, VALUES), (WIDTH,), (1,))]
    state[2] = state[2] - 100.0  # transformers starts at 0, as if a token with a logit of 0 had come before
    rows = []
    for n in range(LENGTH):
        row, state = step(*(t[name][:, :, n] for name in QKV), t["input_gate"][:, :, n, None], t["forget_gate"][:, :, n, None], *state, eps=0.0,
                          dtype_state=torch.float64)
        rows.append(row)
    return torch.stack(rows, 2)


def xlnet(t):
    import torch
    layer = transformers("xlnet", "XLNetRelativeAttention")
    held = types.SimpleNamespace(r_w_bias=t["u"], r_r_bias=t["other_u"], rel_shift_bnij=layer.rel_shift_bnij, scale=WIDTH ** -0.5, dropout=lambda x: x)
    first = torch.zeros(1, HEADS, WIDTH, dtype=torch.float64)  # the distance kv_len, which no pair has
    rows = torch.cat((first, t["relative"].transpose(0, 1)))[:, None].expand(-1, 2, -1, -1)
    out = layer.rel_attn_core(held, *(t[name].permute(2, 0, 1, 3) for name in QKV), rows)
    return out.permute(1, 2, 0, 3)


def deberta(t):
    import torch
    layer = transformers("deberta_v2", "DisentangledSelfAttention")
    flat = [t[name].transpose(0, 1).reshape(8, -1) for name in ("table", "other_table")]
    held = types.SimpleNamespace(position_buckets=-1, max_relative_positions=4, pos_ebd_size=4, share_att_key=False, pos_att_type=["c2p", "p2c"],
                                 num_attention_heads=HEADS, pos_key_proj=lambda x: flat[0][None], pos_query_proj=lambda x: flat[1][None])
    held.transpose_for_scores = lambda x, heads: layer.transpose_for_scores(held, x, heads)
    q, k, v = (t[name].flatten(0, 1) for name in QKV)
    module = importlib.import_module(layer.__module__)  # whose root of the scale is in float32
    with mock.patch.object(module, "scaled_size_sqrt", lambda x, terms: torch.tensor(x.size(-1) * terms, dtype=torch.float64).sqrt()):
        bias = layer.disentangled_attention_bias(held, q, k, None, flat[0], 3)
    return (torch.softmax(q @ k.mT * (3 * WIDTH) ** -0.5 + bias, -1) @ v).unflatten(0, (2, HEADS))


def sam(t):
    layer = transformers("sam", "SamVisionAttention")
    held = types.SimpleNamespace(get_rel_pos=lambda *given: layer.get_rel_pos(None, *given))
    bias = layer.get_decomposed_rel_pos(held, t["q"].flatten(0, 1), t["table_y"], t["table_x"], GRID, GRID)
    return bias.reshape(2, HEADS, LENGTH, LENGTH)


def convolved(t):
    import torch
    x = t["q"].mT.flatten(0, 1)
    padded = torch.nn.functional.pad(x.mT, (2, 0))
    return torch.nn.functional.conv1d(padded, t["taps"][:, None], t["bias"], groups=LENGTH)


ZEROS, OWN = np.zeros((2, HEADS, LENGTH, WIDTH)), WIDTH ** -0.5
BEHIND = np.clip(np.arange(LENGTH)[:, None] - np.arange(LENGTH) + 4, 0, 7)
DPLR, GATES = "generalized_delta_rule/dplr/naive", ("log_decay", "level_scales")
CASES = {
    "linear": (QKV, ours("linear_attention", causal=True, normalize=False, feature_map=None),
               by_token("linear_attn/naive", "naive_recurrent_linear_attn", *QKV, scale=1.0)),
    "simple gated": ((*QKV, "log_decay"), ours("simple_gated_linear_attention", log_decay="log_decay"),
                     by_token("simple_gla/naive", "naive_recurrent_simple_gla", *QKV, "log_decay", scale=1.0)),
    "lightning": ((*QKV, "slopes"), ours("lightning_attention", slopes="slopes"), decays_of_slopes),
    "gated": ((*QKV, "channels"), ours("gated_linear_attention", log_decay="channels", scale=OWN), by_token("gla/naive", "naive_recurrent_gla", *QKV, "channels")),
    "delta": ((*QKV, "beta"), ours("delta_rule", beta="beta", scale=OWN), by_head("delta_rule/naive", "delta_rule_recurrence", *QKV, "beta")),
    "gated delta": ((*QKV, "beta", "log_decay"), ours("gated_delta_rule", beta="beta", log_decay="log_decay"),
                    by_token("gated_delta_rule/naive", "naive_recurrent_gated_delta_rule", *QKV, "beta", "log_decay", scale=1.0)),
    "delta product": (("q", "keys", "values", "log_decay", "strengths"),
                      ours("delta_product", "q", "keys", "values", beta="strengths", log_decay="log_decay", steps=STEPS),
                      by_token("gated_delta_product/naive", "naive_recurrent_gated_delta_product", "q", "keys", "values", "log_decay", "strengths",
                               scale=1.0, num_householder=STEPS)),
    "kimi": ((*QKV, "channels", "beta"), ours("kimi_delta_attention", beta="beta", log_decay="channels"),
             by_token("kda/naive", "naive_recurrent_kda", *QKV, "channels", "beta", scale=1.0)),
    "generalized": ((*QKV, "read", "write", "channels"), ours("generalized_delta_rule", read="read", write="write", log_decay="channels", scale=OWN),
                    by_head(DPLR, "dplr_recurrence", *QKV, "read", "write", "channels")),
    "iplr": ((*QKV, "read", "write"), lambda t: generalized(t, t["read"], t["write"], ZEROS, scale=OWN),
             by_head("generalized_delta_rule/iplr/naive", "iplr_recurrence", *QKV, "read", "write")),
    "rwkv7": ((*QKV, "read", "write", "channels"), ours("rwkv7", removal="read", rate="write", log_decay="channels", scale=OWN), dplr_of_rwkv7),
    "rwkv6": ((*QKV, "channels", "bonus"), ours("rwkv6", log_decay="channels", bonus="bonus"),
              by_head("rwkv6/recurrent_naive", "naive_recurrent_rwkv6", *QKV, "channels", "bonus", scale=1.0)),
    "gated deltanet 2": ((*QKV, "channels", "erase", "keep"), lambda t: generalized(
        t, -np.exp(t["channels"]) * t["erase"] * t["k"], t["k"], t["channels"], t["v"] * t["keep"]),
        by_token("gdn2/naive", "naive_recurrent_gdn2", *QKV, "channels", "erase", "keep", scale=1.0)),
    "comba, loop": ((*QKV, "aside", "beta", "log_decay"), lambda t: comba(t, np.exp(t["log_decay"])[..., None] * t["aside"]),
                    by_token("comba/naive", "naive_recurrent_comba", *QKV, "aside", "beta", "log_decay", scale=1.0)),
    "comba, chunks": ((*QKV, "aside", "log_decay", "beta"), lambda t: comba(t, t["aside"]),
                      by_token("comba/naive", "naive_chunk_comba", *QKV, "aside", "log_decay", "beta", scale=1.0, chunk_size=7)),
    "log linear": ((*QKV, *GATES), ours("log_linear_attention", **{name: name for name in GATES}),
                   by_token("log_linear_attn/naive", "naive_log_linear_attn", *QKV, *GATES, pick=None)),
    "mesa": (("q", "k", "square", "log_decay", "ridge", "beta"), ours("mesa", "q", "k", "square", log_decay="log_decay", beta="beta", ridge="ridge"),
             by_token("mesa_net/naive", "naive_mesa_net_exact", "q", "k", "square", "log_decay", "ridge", "beta")),
    "mlstm": ((*QKV, "input_gate", "forget_gate"), ours("mlstm", input_gate="input_gate", forget_gate="forget_gate", scale=OWN), xlstm),
    "convolution": (("q", "taps", "bias"), lambda t: definitions.causal_convolution(t["q"].reshape(-1, LENGTH, WIDTH), t["taps"], bias=t["bias"]), convolved),
    "forgetting": ((*QKV, "log_decay"), ours("forgetting_attention", log_forget="log_decay", window=(7, 0)),
                   by_token("forgetting_attn/naive", "naive_forgetting_attn", *QKV, "log_decay", window_size=8, pick=None)),
    "stick breaking": (QKV, ours("stick_breaking_attention"), by_token("stickbreaking_attn/naive", "naive_stickbreaking_attn", *QKV)),
    "stick breaking, current": (QKV, ours("stick_breaking_attention", current=True),
                                by_token("stickbreaking_attn/naive", "naive_stickbreaking_attn", *QKV, attend_current=True)),
    "path": ((*QKV, "w", "beta", "log_decay"), ours("path_attention", w="w", beta="beta", log_forget="log_decay", scale=0.5), reflected),
    "relative positions": ((*QKV, "relative", "u", "other_u"), ours("relative_position_attention", relative="relative", u="u", w="other_u"), xlnet),
    "disentangled": ((*QKV, "table", "other_table"),
                     ours("disentangled_attention", k_relative="table", q_relative="other_table", distance=BEHIND), deberta),
    "decomposed positions": (("q", "table_y", "table_x"), ours("decomposed_position_bias", "q", table_y="table_y", table_x="table_x", grid=GRID), sam),
}


@pytest.mark.parametrize("name", CASES)
def test_a_definition_is_what_others_compute_and_learns_alike(name):
    torch = pytest.importorskip("torch")
    names, mine, theirs = CASES[name]
    given = drawn(names)
    leaves = {n: torch.tensor(x, requires_grad=True) for n, x in given.items()}
    torch.set_default_dtype(torch.float64)
    try:
        want = theirs(leaves)
    except (ImportError, TypeError) as missing:
        if all(importlib.util.find_spec(package) for package in ("fla", "transformers", "einops")):
            raise
        pytest.skip(f"a library is not installed: {missing}")
    finally:
        torch.set_default_dtype(torch.float32)
    got, pull = vjp(mine, given)
    direction = np.cos(np.arange(got.size)).reshape(got.shape)
    want.backward(torch.tensor(direction).reshape(want.shape))
    np.testing.assert_allclose(got, want.detach().numpy().reshape(got.shape), rtol=1e-10, atol=1e-10)
    for n, slope in pull(direction).items():
        np.testing.assert_allclose(slope, leaves[n].grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=n)
