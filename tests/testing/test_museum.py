"""Every twin is detected by the laws about its fault, every law detects one, and a right mechanism passes."""

from collections import Counter

import numpy as np
import pytest

from tinyattn.catalog import ROWS, find
from tinyattn.definitions import attention, streaming_attention
from tinyattn.laws import Law
from tinyattn.laws.problem import Sizes, arrays
from tinyattn.testing.broken import MUSEUM, Twin
from tinyattn.testing.matrix import killed, kills, laws_on, render

OWN = [(twin, name) for twin in MUSEUM for name in twin.killed_by]


@pytest.mark.parametrize(("twin", "name"), OWN, ids=[f"{twin.name}-{name}" for twin, name in OWN])
def test_a_twin_is_killed_by_the_laws_about_its_fault(twin: Twin, name: str) -> None:
    law = next(law for law in laws_on(twin) if law.name == name)
    assert killed(twin, law)


def test_a_law_that_kills_none_would_be_none() -> None:
    laws = {law.name for twin in MUSEUM for law in laws_on(twin)}
    assert laws == {name for twin in MUSEUM for name in twin.killed_by}


def test_names_are_unique_and_there_are_twenty_at_least() -> None:
    assert len({twin.name for twin in MUSEUM}) == len(MUSEUM) >= 20
    assert all(twin.says.endswith(".") for twin in MUSEUM)


def test_every_mechanism_has_three_twins_or_is_attention() -> None:
    twins = Counter(twin.row for twin in MUSEUM if twin.cache is None)
    few = {row.name for row in ROWS if twins[row.name] < 3}
    assert few == {"multi_head_attention", "multi_query_attention", "grouped_query_attention"}
    assert all("equals_attention" in {law.name for law in find(name).laws} for name in few)


@pytest.mark.parametrize("twin", [t for t in MUSEUM if t.row == "attention" and t.cache is None], ids=lambda t: t.name)
def test_a_twin_of_another_form_is_killed_too(twin: Twin) -> None:
    laws = {law.name: law for law in laws_on(twin)}
    assert any(killed(twin, laws[name], mechanism=streaming_attention) for name in twin.killed_by)


def test_a_crash_is_not_a_kill() -> None:
    def crashes(f, p):
        raise ValueError("no")

    twin = Twin("crashes", "It crashes.", (), crashes)
    assert not any(killed(twin, law, examples=2) for law in laws_on(twin))


def test_the_right_one_lives() -> None:
    honest = Twin("honest", "It is right.", (), lambda f, p: p.call(f))
    assert not any(kills([honest], examples=2)["honest"].values())


def test_the_matrix_says_who_kills_whom() -> None:
    museum = [twin for twin in MUSEUM if twin.name in ("mask_inverted", "lse_in_base_two")]
    matrix = kills(museum, examples=3)
    text = render(matrix, museum)
    row = next(line for line in text.splitlines() if line.startswith("a_mask_says_who_attends"))
    assert row.endswith("●")
    assert "lse_in_base_two: The kernel works with exp2" in text
    blind = {"mask_inverted": {**matrix["mask_inverted"], "a_mask_says_who_attends": False}}
    assert "!" in render(blind, museum).split("within_the_hull")[0]


def test_the_matrix_fits_into_its_room() -> None:
    museum = [twin for twin in MUSEUM if twin.row == "attention"]
    assert len(museum) > 30
    matrix = {twin.name: {law.name: False for law in laws_on(twin)} for twin in museum}
    lines = render(matrix, museum, room=80).splitlines()
    assert max(map(len, lines)) <= 80
    tables = [line for line in lines if line.startswith("inputs_are_not_written")]
    assert sum(line.count("·") + line.count("!") for line in tables) == len(museum)


def test_a_law_is_a_value_that_can_be_tried_by_others() -> None:
    law: Law = find("attention").laws[0]
    p = law.draw(np.random.default_rng(0), Sizes())
    assert p.q.shape == arrays(np.random.default_rng(0), Sizes()).q.shape
    for left, right in zip(law.left(attention, p), law.right(attention, p), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-13, atol=1e-14)
