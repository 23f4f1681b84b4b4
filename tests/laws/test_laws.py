"""Every law of every row holds for its definition."""

from zlib import crc32

import numpy as np
import pytest
from hypothesis import settings

from tinyattn.catalog import ROWS, find
from tinyattn.laws import GRADIENT_LAWS, LINEAR_LAWS, LSE_LAWS, SOFTMAX_LAWS, check
from tinyattn.laws.draw import draw_sizes
from tinyattn.laws.problem import Sizes

FIRST = ("equals_the_definition", "gradients_equal_the_definition")
# A definition compared with itself holds whatever it computes; the two laws of softmax compare its other forms with attention.
CASES = [(row, law) for row in ROWS for law in row.laws if law.name not in FIRST or law in (*SOFTMAX_LAWS, *GRADIENT_LAWS)]


@pytest.mark.parametrize(("row", "law"), CASES, ids=[f"{row.name}-{law.name}" for row, law in CASES])
def test_a_law_holds(row, law):
    # A seed is nothing that Hypothesis could choose well or make simpler, and drawing it would take a sixth of this test's time.
    chosen = settings()
    seeds = np.random.default_rng(crc32(f"{row.name} {law.name}".encode()) if chosen.derandomize else None)
    for seed in seeds.integers(2 ** 32, size=chosen.max_examples):
        report = check(law.fitted(row.fit), row.mechanism, honest=row.mechanism, rng=np.random.default_rng(seed), examples=1)
        assert report.holds, f"seed {seed}: {report.failing}"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_first_laws_of_a_row_tell_a_result_one_in_a_thousand_off(row):
    def hot(q, k, v, **options):
        out = row.mechanism(q, k, v, **options)
        return (out[0] * np.float32(1.001), *out[1:]) if isinstance(out, tuple) else out * np.float32(1.001)

    assert tuple(law.name for law in row.laws[:2]) == FIRST
    for law in row.laws[:2]:
        right, wrong = (check(law.fitted(row.fit), f, honest=row.mechanism, rng=np.random.default_rng(4), examples=1)
                        for f in (row.mechanism, hot))
        assert right.holds, right.failing
        assert not wrong.holds
        assert not wrong.crashed


def test_every_family_begins_with_the_definition():
    assert {laws[0].name for laws in (SOFTMAX_LAWS, LSE_LAWS, LINEAR_LAWS)} == {FIRST[0]}
    assert {GRADIENT_LAWS[0].name, LINEAR_LAWS[1].name} == {FIRST[1]}


def test_names_are_found_and_near_ones_offered():
    assert find("mqa").name == "multi_query_attention"
    with pytest.raises(ValueError, match="did you mean attention"):
        find("atention")


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_inputs_of_a_row_are_refused(row):
    p = row.sample(np.random.default_rng(0), row.fit(Sizes()))
    for bad in row.bad_inputs:
        with pytest.raises(bad.error) as refusal:
            p.but(**bad.changes).call(row.mechanism)
        assert all(word in str(refusal.value) for word in bad.words)


def test_sizes_reach_zero_one_and_coincide():
    drawn = [draw_sizes(np.random.default_rng(seed)) for seed in range(300)]
    assert any(s.q_len == 0 for s in drawn)
    assert any(s.q_len > s.kv_len for s in drawn)
    assert any(s.leading == (s.heads,) for s in drawn)
    assert any(s.q_len == s.head_dim for s in drawn)
