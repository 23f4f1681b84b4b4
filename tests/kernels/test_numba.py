"""The kernels' place on disk leans on private classes of Numba; this says which, and with which version they were last seen."""

import numba
import pytest
from numba.core import caching

from tinyattn.kernels.tiles import jit

SEEN = "0.68"
NEEDED = {"_CacheLocator": ("ensure_cache_path", "from_function", "get_cache_path", "get_source_stamp", "get_disambiguator"),
          "CompileResultCacheImpl": ("_locator_classes",), "FunctionCache": ("_impl_class", "load_overload", "save_overload")}


@pytest.mark.parametrize("name", NEEDED)
def test_numba_still_has_what_the_cache_is_made_of(name):
    missing = [attribute for attribute in NEEDED[name] if not hasattr(getattr(caching, name, None), attribute)]
    assert not missing, f"Numba {numba.__version__} has no {name}.{missing[0]}; tiles/jit.py was last seen to work with Numba {SEEN}"


def test_a_compiled_kernel_has_the_cache():
    assert isinstance(jit.compiled(lambda x: x)._cache, jit.KernelCache), f"last seen with Numba {SEEN}, now {numba.__version__}"
