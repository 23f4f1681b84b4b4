"""What fails, is stopped or is asked of the wrong cache leaves every byte as it was."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.interrupts import interrupted
from tinyattn import caches
from tinyattn.caches import PagePool
from tinyattn.ops.files import safetensors

_spec = importlib.util.spec_from_file_location("held", Path(__file__).with_name("held.py"))
held = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(held)
NAMES, WRITERS, arrays, asked, digest, filled, write = held.NAMES, held.WRITERS, held.arrays, held.asked, held.digest, held.filled, held.write
HOME = str(Path(caches.__file__).parent)


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
@pytest.mark.parametrize("name", ["empty", "zeros", "concatenate", "stack", "where", "arange", "array", "pad"])
def test_an_allocation_that_fails_changes_nothing(row, name, monkeypatch):
    cache, real, calls = filled(row), getattr(np, name), 0
    wanted = filled(row)
    write(row, wanted)
    before, nth = digest(cache), 0

    def failing(*args, **options):
        nonlocal calls
        calls += 1
        if calls == nth:
            raise MemoryError
        return real(*args, **options)

    done = False
    while not done:  # until the act has no nth allocation
        nth, calls = nth + 1, 0
        with monkeypatch.context() as patched:
            patched.setattr(np, name, failing)
            try:
                write(row, cache)
                done = True
            except MemoryError:
                assert digest(cache) == before
    assert digest(cache)[1][: len(cache._saved())] == digest(wanted)[1][: len(cache._saved())]


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_an_act_that_is_stopped_anywhere_has_happened_or_not(row):
    """KeyboardInterrupt at every line of every file of the caches that an append runs through."""
    after = filled(row)
    write(row, after)
    before, after = digest(filled(row)), digest(after)
    cache, nth, done = filled(row), 0, False
    while not done:
        nth += 1
        try:
            with interrupted(nth, (HOME,)):
                write(row, cache)
            done = True
        except KeyboardInterrupt:
            now = digest(cache)
            assert now in (before, after)
            cache = filled(row) if now == after else cache
    assert digest(cache) == after
    assert nth > 15


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_what_does_not_fit_is_refused_by_name(row):
    cache = filled(row)
    if row.name == "CrossCache":
        write(row, cache)
    before = digest(cache)
    (q, k, v), options = arrays(row, 2)
    narrow, single = (k[..., 1:], v), (k.astype(np.float32), v.astype(np.float32))
    fewer, three = (k[:1], v[:1]), (np.repeat(k, 2, axis=0)[:3], np.repeat(v, 2, axis=0)[:3])
    cases = [(narrow, ValueError), (single, TypeError), (fewer, ValueError), (three, ValueError), ((k, v[..., 1:, :]), ValueError),
             ((k[..., :0, :], v), ValueError), ((k.astype(int), v), TypeError), ((list(k), v), TypeError)]
    for pair, error in cases:
        for act in (lambda pair=pair: cache.step(q, *pair, **options), lambda pair=pair: cache.append(*pair, **held.stored(options))):
            with pytest.raises((error, ValueError), match=r"^(k|v|append): "):
                act()
            assert digest(cache) == before
    with pytest.raises((ValueError, TypeError), match="^(q|k): "):
        cache.step(np.concatenate((q, q), axis=-2), k, v, **options)  # its first queries would stand before the chunk
    with pytest.raises(ValueError, match="q|already holds a memory"):  # found only where the queries are read, after the keys were taken in
        cache.step(q[..., 2:], k, v, **options)
    assert digest(cache) == before
    for length, error in ((-1, ValueError), (cache.length + 1, ValueError), (1.5, (TypeError, ValueError)), (True, TypeError)):
        with pytest.raises(error):
            cache.truncate(length)
    with pytest.raises(IndexError, match="indices: expected 0 to 1, got 0 to 2"):
        cache.reorder([0, 2])
    with pytest.raises(IndexError, match="indices"):
        cache.reorder([-1])
    with pytest.raises(TypeError, match="indices"):
        cache.reorder([0.5])
    assert digest(cache) == before


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_an_empty_cache_says_so(row, tmp_path):
    cache = row.made()
    (q, _, _), options = arrays(row, 0)
    for act in (lambda: cache.reorder([0]), lambda: cache.save(tmp_path / "x"), lambda: cache.attend(q, **asked(options))):
        with pytest.raises(ValueError, match="empty"):
            act()
    assert (cache.length, cache.nbytes, cache.allocated) == (0, 0, 0)
    cache.truncate(0)


@pytest.mark.parametrize("row", WRITERS, ids=NAMES)
def test_a_file_that_does_not_fit_is_refused(row, tmp_path):
    cache = filled(row)
    if row.name == "CrossCache":
        write(row, cache)
    given = {name: x for name, x in row.settings.items() if callable(x) or name == "policy"}
    given |= {"pool": PagePool(64, 3)} if row.name == "PagedCache" else {}
    kind = type(cache)
    cache.save(tmp_path / "right")
    held, metadata = safetensors.load_with_metadata(tmp_path / "right")
    assert metadata["cache"] == kind.__name__
    safetensors.save(tmp_path / "other", held, metadata={**metadata, "cache": "Nobody"})
    with pytest.raises(ValueError, match=f"expected a {kind.__name__}, got Nobody"):
        kind.load(tmp_path / "other", **given)
    safetensors.save(tmp_path / "other", held, metadata={**metadata, "window": "wide"})
    with pytest.raises(ValueError, match="other: window: expected a whole number, got 'wide'"):
        kind.load(tmp_path / "other", **given)
    for name in held:
        if name.count(".") < 2:  # gates and check-points are there or not
            safetensors.save(tmp_path / "less", {n: array for n, array in held.items() if n != name}, metadata=metadata)
            with pytest.raises(ValueError, match=r"less: expected a .*, found no|do not fit"):
                kind.load(tmp_path / "less", **given)
