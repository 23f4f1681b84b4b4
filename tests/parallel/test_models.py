"""A decoder trained and read over ranks is the decoder of one process: losses, gradients, texts."""

import numpy as np
import pytest

from tinyattn.caches.sharded import ShardedCache
from tinyattn.catalog import find
from tinyattn.engine import value_and_grad
from tinyattn.engine.tree import differentiable, map_tree
from tinyattn.laws.budget import EPS32, Budget, anywhere
from tinyattn.models import Decoder, DecoderConfig, generate, loss, parameters, train
from tinyattn.models.sharded import SCHEMES, sharded, sharded_loss, summed_over, train_sharded
from tinyattn.ops import masks
from tinyattn.ops.loss import cross_entropy
from tinyattn.parallel import contiguous, threads, zigzag

CONFIG = DecoderConfig(width=16, layers=2, heads=4, kv_heads=2, hidden=24, context=10)
TEXT = np.random.default_rng(0).integers(0, 256, 400).astype(np.uint8)


def decoder(name="attention"):
    return Decoder.create(CONFIG, np.random.default_rng(1), **find(name).mixing).astype(np.float64)


def measured(of, model):
    """Returns the Budget of arrays that one process computes from a model: 4 times its errors in float32, in units of float64."""
    rng, truth = np.random.default_rng(0), of(model)
    errors = [np.zeros(np.shape(x)) for x in truth]
    for _ in range(4):
        copy = map_tree(lambda leaf: leaf * (1.0 + EPS32 * rng.choice((-1.0, 1.0), leaf.shape)) if differentiable(leaf) else leaf, model).astype(np.float32)
        pairs = zip(of(copy), of(copy.astype(np.float64)), strict=True)
        errors = [np.maximum(error, anywhere(np.abs(np.float64(a) - b))) for error, (a, b) in zip(errors, pairs, strict=True)]
    return Budget(truth, tuple(4.0 * 2.0 ** -29 * (error + EPS32 * np.abs(x)) for error, x in zip(errors, truth, strict=True)))


def listed(step):
    """Returns a loss and its gradients as a list of arrays."""
    value, gradients = step
    return (np.asarray(value), *parameters(gradients).values())


CASES = [("ring", "attention"), ("heads", "attention"), ("states", "gated_delta_rule"), ("states", "linear_attention"),
         ("states", "retention"), ("states", "gated_linear_attention"), ("states", "based")]


@pytest.mark.parametrize("ranks", [1, 2, 5])
@pytest.mark.parametrize(("scheme", "mechanism"), CASES)
def test_losses_and_gradients_are_those_of_one_process(scheme, mechanism, ranks):
    model, layout = decoder(mechanism), SCHEMES[scheme](9, ranks)
    tokens, targets = TEXT[:18].reshape(2, 9).astype(np.int64), TEXT[1:19].reshape(2, 9).astype(np.int64)
    budget = measured(lambda m: listed(value_and_grad(loss)(m, tokens, targets)), model)

    def program(comm):
        own = layout.positions(comm.Get_rank())
        step = summed_over(comm, value_and_grad(lambda m: sharded_loss(sharded(m, scheme, comm, layout), tokens[:, own], targets[:, own], comm, layout)))
        return step(model)

    spent = [budget.spent(listed(step)) for step in threads.run(ranks, program)]
    assert max(spent) <= 1.0, spent


def test_the_loss_is_the_mean_over_all_targets_whatever_the_shards_hold():
    model, layout = decoder(), contiguous(9, 3)
    tokens, targets = TEXT[:9][None].astype(np.int64), TEXT[1:10][None].astype(np.int64)
    targets[:, 1:7] = -100  # rank 1 has no target at all, rank 0 has one, rank 2 two
    budget = measured(lambda m: listed(value_and_grad(lambda m: cross_entropy(m(tokens), targets, ignore=-100))(m)), model)

    def program(comm):
        own = layout.positions(comm.Get_rank())
        return summed_over(comm, value_and_grad(lambda m: sharded_loss(
            sharded(m, "ring", comm, layout), tokens[:, own], targets[:, own], comm, layout, ignore=-100)))(model)

    assert max(budget.spent(listed(step)) for step in threads.run(3, program)) <= 1.0

    def mean_of_means(comm):  # the wrong twin: each rank's own mean, and the mean of these
        own = layout.positions(comm.Get_rank())
        logits = sharded(model, "ring", comm, layout)(tokens[:, own], positions=own[None])
        return float(cross_entropy(logits, targets[:, own], ignore=-100)) if (targets[:, own] != -100).any() else np.nan

    assert abs(np.nanmean(threads.run(3, mean_of_means)) - budget.truth[0]) > 1e6 * budget.allowed[0]
    with pytest.raises(ValueError, match="at least one on one of the ranks"):
        threads.run(2, lambda comm: sharded_loss(model, tokens[:, :0], targets[:, :0], comm, contiguous(0, 2)))


@pytest.mark.parametrize("scheme", ["ring", "heads"])
def test_documents_cross_no_boundary(scheme):
    model, layout = decoder(), zigzag(12, 3)
    tokens = TEXT[:12][None].astype(np.int64)
    mask = masks.documents(np.repeat([0, 1], [5, 7]))

    def program(comm, changed):
        own = layout.positions(comm.Get_rank())
        return sharded(model, scheme, comm, layout, mask=mask)(changed[:, own], positions=own[None])

    other = tokens.copy()
    other[:, :5] = (other[:, :5] + 1) % 256
    first, second = (layout.put(threads.run(3, lambda comm: program(comm, changed))) for changed in (tokens, other))
    np.testing.assert_array_equal(first[:, 5:], second[:, 5:])
    assert (first[:, :5] != second[:, :5]).any()


@pytest.mark.parametrize("scheme", ["ring", "heads"])
def test_a_training_has_the_losses_of_one_process_on_any_number_of_ranks(scheme):
    given = {"steps": 3, "context": 10, "batch": 2}
    budget = measured(lambda m: (np.array([step.loss for step in train(m, TEXT, rng=np.random.default_rng(5), **given)]),), decoder())
    for ranks in (1, 3):
        every = threads.run(ranks, lambda comm: [*train_sharded(decoder(), TEXT, rng=np.random.default_rng(5), comm=comm, scheme=scheme, **given)])
        for steps in every:
            assert budget.spent((np.array([step.loss for step in steps]),)) <= 1.0
        assert len({steps[-1].model.head.tobytes() for steps in every}) == 1  # the same bits on all ranks


def test_a_scheme_for_another_mechanism_is_refused():
    for scheme, mechanism in (("ring", "retention"), ("states", "attention")):
        with pytest.raises(ValueError, match=f"scheme: {scheme} is for a decoder of"):
            threads.run(1, lambda comm: sharded(decoder(mechanism), scheme, comm, zigzag(4, 1)))
    with pytest.raises(ValueError, match="expected one of ring, heads, states, got 'tree'"):
        threads.run(1, lambda comm: sharded(decoder(), "tree", comm, zigzag(4, 1)))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_generation_over_sharded_caches_writes_the_same_text(ranks):
    model, prompt = decoder(), TEXT[:7].tobytes()
    want = bytes(generate(model, prompt, 12, rng=np.random.default_rng(2)))

    def program(comm):
        caches = []
        text = bytes(generate(model, prompt, 12, rng=np.random.default_rng(2), cache=lambda: caches.append(ShardedCache(comm, block=3)) or caches[-1]))
        return text, [cache.nbytes for cache in caches], caches[0].length

    every = threads.run(ranks, program)
    assert {text for text, _, _ in every} == {want}
    per_token = 2 * CONFIG.kv_heads * CONFIG.width // CONFIG.heads * 8
    assert sum(held[0] for _, held, _ in every) == every[0][2] * per_token
