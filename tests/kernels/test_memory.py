"""Nothing grows with the length squared: what a mechanism takes for 32,768 tokens, beside its arrays."""


import numpy as np
import pytest

from tests.kernels.peak import peak_of
from tinyattn import kernels, vjp
from tinyattn.kernels.softmax import dual_chunk, some_heads
from tinyattn.kernels.tiles import pages
from tinyattn.ops import masks

LENGTH, HEADS, DIM, THREADS = 1 << 15, 8, 64, 2
GRID = {"grid": (128, 256)}
CALLS = {
    "attention": {"causal": True, "window": (255, 0)}, "multi_head_local_attention": {"window": 100},
    "bigbird_attention": {"block": 64, "random": 2, "seed": 0, "causal": True}, "shifted_sparse_attention": {"group": 128},
    "gathered_attention": {"mask": masks.sliding_window(100) | masks.first(3)},
    "block_sparse_attention": {"blocks": (np.arange(512) - np.arange(512)[:, None]) % 64 == 0, "q_block": 64, "kv_block": 64},
    "longformer_attention": {"window": 100, "global_tokens": range(5)}, "streaming_llm_attention": {"first": 4, "window": 128},
    "native_sparse_attention": {"block": 64, "selected": 4, "window": 128}, "top_k_attention": {"keep": 64, "window": (255, 0)},
    "block_mixture_attention": {"block": 256, "keep": 2}, "axial_attention": GRID | {"axis": 0},
    "shifted_window_attention": GRID | {"window": 8, "shift": 4}, "locally_grouped_attention": GRID | {"window": 8},
    "lsh_attention": {"chunk": 64, "rotations": np.random.default_rng(1).standard_normal((2, DIM, LENGTH // 128), np.float32)},
    "neighborhood_attention": GRID | {"kernel": 5},
    "global_subsampled_attention": GRID | {"ratio": 16}, "nystrom_attention": {"landmarks": 32}, "linformer_attention": {},
}
# Mechanisms that take other arrays than q, k and v, or more.
PROJECTION = np.full((256, LENGTH), 1.0 / LENGTH, np.float32)
OWN = {"native_sparse_attention": lambda x: dict.fromkeys("qkv", x) | {"gates": x[..., :3]},
       "lsh_attention": lambda x: {"qk": x, "v": x},
       "longformer_attention": lambda x: {name + end: x for end in ("", "_global") for name in "qkv"},
       "linformer_attention": lambda x: dict.fromkeys("qkv", x) | dict.fromkeys(("project_k", "project_v"), PROJECTION),
       "shifted_window_attention": lambda x: dict.fromkeys("qkv", x) | {"bias_table": np.zeros((225, HEADS), np.float32)}}
def latents(x):
    """Returns the arguments of latent attention with a latent vector as wide as two heads."""
    return {"q_nope": x, "q_rope": x[..., :16], "latent": np.concatenate((x[:, 0], x[:, 1]), axis=-1), "k_rope": x[:, 0, :, :16],
            "w_uk": np.full((HEADS, 2 * DIM, DIM), 1 / DIM, x.dtype), "w_uv": np.full((HEADS, 2 * DIM, DIM), 1 / DIM, x.dtype)}


# Softmax mechanisms that see every earlier token take too long for such a text; what arrays they take beside q, k and v.
DENSE = {
    "forgetting_attention": lambda q: {"log_forget": -abs(q[..., 0])}, "stick_breaking_attention": lambda q: {},
    "sigmoid_attention": lambda q: {}, "sparsemax_attention": lambda q: {}, "entmax_attention": lambda q: {},
    "scalable_softmax_attention": lambda q: {"factor": q[:, 0, 0]}, "cosine_attention": lambda q: {"log_scale": q[:, 0, 0]},
    "talking_heads_attention": lambda q: {"before": np.eye(2, dtype=q.dtype), "after": np.eye(2, dtype=q.dtype)},
    "relative_position_attention": lambda q: {"relative": q, "u": q[:, 0], "w": q[:, 1]},
    "path_attention": lambda q: {"w": q / 8, "beta": q[..., 0], "log_forget": -abs(q[..., 1])},
}
# Mechanisms that choose keys, or hold more than the bound of a long text: their options, and what they take in place of q, k and v.
CHOOSING = {
    "top_k_attention": ({"keep": 16, "causal": True}, lambda q: dict.fromkeys("qkv", q)),
    "native_sparse_attention": ({"block": 32, "selected": 2, "window": 64}, lambda q: dict.fromkeys("qkv", q) | {"gates": q[..., :3] ** 2}),
    "lsh_attention": ({"chunk": 32, "causal": True, "rotations": np.random.default_rng(1).standard_normal((2, 16, 8), np.float32)},
                      lambda q: {"qk": q, "v": q}),
    "neighborhood_attention": ({"kernel": 3}, lambda q: dict.fromkeys("qkv", q)),
}
CAUSAL = DENSE.keys() - {"forgetting_attention", "stick_breaking_attention", "path_attention"}


def slopes(call, tree):
    """Returns a function without arguments that makes a call and its gradients."""
    def both():
        out, pull = vjp(call, tree)
        pull(out)

    return both


@pytest.mark.parametrize("name", DENSE)
def test_four_times_the_tokens_take_at_most_four_times_the_memory(monkeypatch, name):
    monkeypatch.setattr(pages, "MOST", 0)  # what waits has a bound of its own, whatever the length
    peaks = []
    for length in (512, 512, 2048):  # the first call compiles
        q = np.random.default_rng(0).standard_normal((2, length, 16), np.float32)
        options = {"causal": True} if name in CAUSAL else {}
        tree = {"q": q, "k": q, "v": q} | DENSE[name](q)
        peaks.append(peak_of(slopes(lambda t, options=options: getattr(kernels, name)(**t, **options), tree))[0])
    assert peaks[2] <= 4.1 * peaks[1], f"{peaks[1]} and {peaks[2]} bytes"


@pytest.mark.parametrize("name", CHOOSING)
def test_four_times_the_tokens_take_at_most_four_times_the_memory_to_choose(monkeypatch, name):
    monkeypatch.setattr(pages, "MOST", 0)  # what waits has a bound of its own, whatever the length
    (options, arrays), peaks = CHOOSING[name], []
    for length, grid in ((2048, (32, 64)), (2048, (32, 64)), (8192, (64, 128))):
        tree = arrays(np.random.default_rng(0).standard_normal((2, length, 16), np.float32))
        more = {"grid": grid} if name == "neighborhood_attention" else {}
        with kernels.threads(1):  # several hold their pieces at the same time by chance
            peaks.append(peak_of(slopes(lambda t, more=more: getattr(kernels, name)(**t, **options, **more), tree))[0])
    assert peaks[2] <= 4.1 * peaks[1], f"{peaks[1]} and {peaks[2]} bytes"


# Dense mechanisms whose arrays are made for some heads at a time, on an eighth of the tokens, with an eighth of the room for a head.
SHORT = LENGTH // 8
BY_HEADS = {
    "dual_chunk_attention": (dual_chunk, {"chunk": 512, "local": 64}, lambda x: dict.fromkeys("qkv", x)),
    "latent_attention_expanded": (some_heads, {"causal": True}, latents), "latent_attention_absorbed": (some_heads, {"causal": True}, latents),
    "tensor_product_attention": (some_heads, {"causal": True}, lambda x: dict(zip(("q_factors", "k_factors", "v_factors"), (
        (x.swapaxes(1, 2)[..., :rank, :HEADS], x.swapaxes(1, 2)[..., :rank, :]) for rank in (6, 2, 2)), strict=True))),
}


@pytest.mark.parametrize("name", BY_HEADS)
def test_heads_that_are_made_one_by_one_take_their_arrays_and_twice_the_values_and_a_head_s_room(monkeypatch, name):
    module, options, arrays = BY_HEADS[name]
    monkeypatch.setattr(module, "TOGETHER", SHORT * DIM)
    monkeypatch.setattr(pages, "MOST", pages.MOST // 8)
    x = np.random.default_rng(0).standard_normal((1, HEADS, SHORT, DIM), np.float32)
    tree, peaks = arrays(x), []
    with kernels.threads(THREADS):
        for _ in range(2):  # what the first call compiles does not count
            peaks.append(peak_of(slopes(lambda tree: getattr(kernels, name)(**tree, **options), tree))[0])
    inputs = sum(y.nbytes for pair in tree.values() for y in (pair if isinstance(pair, tuple) else (pair,)))
    bound = 2 * inputs + x.nbytes + 2 * x.nbytes + THREADS * (64 << 20) // 8
    assert min(peaks) <= bound, f"{min(peaks) / x.nbytes:.2f} times the size of v, of {bound / x.nbytes:.2f}"


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((1, HEADS, LENGTH, DIM), np.float32)


@pytest.mark.parametrize("name", CALLS)
def test_a_long_text_takes_its_arrays_and_twice_the_values_and_a_thread_s_room(name, x):
    arrays = OWN.get(name, lambda x: dict.fromkeys("qkv", x))(x)
    few = {key: y[..., :1024, :] for key, y in arrays.items()}
    if "grid" not in CALLS[name] and name not in {"linformer_attention", "block_sparse_attention"}:
        slopes(lambda tree: getattr(kernels, name)(**tree, **CALLS[name]), few)()  # what is compiled does not count
    with kernels.threads(THREADS):
        peak, _ = peak_of(slopes(lambda tree: getattr(kernels, name)(**tree, **CALLS[name]), arrays))
    # The copies of the inputs in the graph and their gradients, the result, which is its own gradient here, and what is saved.
    bound = 2 * sum(y.nbytes for y in arrays.values()) + x.nbytes + 2 * x.nbytes + THREADS * (64 << 20)
    assert peak <= bound, f"{peak / x.nbytes:.2f} times the size of v, of {bound / x.nbytes:.2f}"
