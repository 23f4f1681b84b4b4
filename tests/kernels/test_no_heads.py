"""No heads, no keys and values of no channels, in definitions and kernels."""

import numpy as np
import pytest

from tinyattn import definitions, grad, kernels


@pytest.mark.parametrize("form", [definitions.delta_product_recurrent, definitions.delta_product_chunked, kernels.delta_product])
def test_delta_product_of_no_heads_gives_no_heads(form):
    k, v = np.ones((0, 6, 3)), np.ones((0, 6, 4))
    out, state = form(k[:, :3], k, v, beta=np.ones((0, 6)), log_decay=-np.ones((0, 3)), steps=2, return_state=True)
    assert (out.shape, state.shape) == ((0, 3, 4), (0, 3, 4))


@pytest.mark.parametrize("form", [definitions.log_linear_attention_recurrent, kernels.log_linear_attention])
@pytest.mark.parametrize(("heads", "width"), [(0, 4), (2, 0)])
@pytest.mark.parametrize("length", [3, 70])
def test_log_linear_attention_takes_no_heads_and_values_of_no_channels(form, heads, width, length):
    k, v = np.ones((heads, length, 3)), np.ones((heads, length, width))
    scales = np.ones((heads, length, 8))
    assert form(k, k, v, log_decay=-np.ones((heads, length)), level_scales=scales).shape == (heads, length, width)


@pytest.mark.parametrize("door", [definitions, kernels])
def test_rwkv6_of_no_heads_has_empty_gradients(door):
    given = {"k": np.ones((0, 4, 3)), "bonus": np.ones((0, 3))}
    gradients = grad(lambda x: door.rwkv6(x["k"], x["k"], x["k"], log_decay=-x["k"], bonus=x["bonus"]).sum())(given)
    assert {name: array.shape for name, array in gradients.items()} == {"k": (0, 4, 3), "bonus": (0, 3)}


@pytest.mark.parametrize("door", [definitions, kernels])
def test_talking_heads_of_no_heads_have_empty_gradients_of_their_sinks(door):
    q, none = np.ones((2, 0, 4, 3)), np.ones((0, 0))
    assert grad(lambda sinks: door.talking_heads_attention(q, q, q, before=none, after=none, sinks=sinks).sum())(np.ones(0)).shape == (0,)


@pytest.mark.parametrize("door", [definitions, kernels])
@pytest.mark.parametrize("shape", [(3, 0), (1, 0), (0,), (3, 1), ()])
def test_a_mask_of_no_keys_shows_none(door, shape):
    q, none = np.ones((2, 3, 4)), np.ones((2, 0, 4))
    mask = np.ones(shape, bool)
    for out in (door.attention(q, none, none, mask=mask), door.sigmoid_attention(q, none, none, mask=mask),
                door.scalable_softmax_attention(q, none, none, mask=mask, factor=1.0), door.streaming_attention(q, none, none, mask=mask)):
        np.testing.assert_array_equal(out, np.zeros((2, 3, 4)))
