"""Any history of any cache, against a Python list of all tokens and one full forward over it."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tinyattn.catalog.caches import ROWS, find
from tinyattn.testing.broken import MUSEUM
from tinyattn.testing.broken.cache_stored import Sharing

_spec = importlib.util.spec_from_file_location("machine", Path(__file__).with_name("machine.py"))
machine = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(machine)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_any_history_is_that_of_a_list(row, tmp_path):
    def make(pool):
        return pool.sequence() if row.name == "PagedCache" else row.made()

    run(row, make, tmp_path, max_examples=settings.default.max_examples // 2)


WRONG = [twin for twin in MUSEUM if twin.name in ("fork_writes_on", "ring_counts_the_others", "shared_page_written", "scales_of_the_next_group")]


@pytest.mark.parametrize("twin", WRONG, ids=[twin.name for twin in WRONG])
def test_a_wrong_cache_is_found_out(twin, tmp_path):
    def make(pool):
        return Sharing(pool) if twin.row == "PagedCache" else twin.cache()

    with pytest.raises(BaseException) as found:
        run(find(twin.row), make, tmp_path, max_examples=60, phases=[Phase.generate])
    assert "spent" in str(found.getrepr(style="short"))


def run(row, make, tmp_path, **given):
    kind = type("Machine", (machine.CacheMachine,), {"row": row, "make": staticmethod(make), "path": tmp_path / "cache"})
    run_state_machine_as_test(kind, settings=settings(stateful_step_count=25, **given))
