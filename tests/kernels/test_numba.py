"""The kernels' place on disk and their libraries lean on private classes of Numba: which, and with what version they were last seen."""

import contextlib
import gc

import numba
import numpy as np
import pytest
from numba.core import caching, codegen, compiler, compiler_machinery, dispatcher

from tinyattn.kernels.tiles import jit, libraries

SEEN = "0.68"
NEEDED = {"_CacheLocator": ("ensure_cache_path", "from_function", "get_cache_path", "get_source_stamp", "get_disambiguator"),
          "CompileResultCacheImpl": ("_locator_classes",), "FunctionCache": ("_impl_class", "load_overload", "save_overload"),
          "JITCodeLibrary": ("finalize", "get_pointer_to_function", "codegen", "enable_object_caching", "_ensure_finalized",
                             "_get_module_for_linking", "_optimize_final_module"), "Compiler": ("compile_extra", "define_pipelines"),
          "PassManager": ("add_pass", "finalize"), "Dispatcher": ("get_call_template",),
          "DefaultPassBuilder": ("define_untyped_pipeline", "define_typed_pipeline", "define_nopython_lowering_pipeline")}


def found(name):
    return next((getattr(module, name) for module in (caching, codegen, compiler, compiler_machinery, dispatcher) if hasattr(module, name)), None)


@pytest.mark.parametrize("name", NEEDED)
def test_numba_still_has_what_the_cache_is_made_of(name):
    missing = [attribute for attribute in NEEDED[name] if not hasattr(found(name), attribute)]
    assert not missing, f"Numba {numba.__version__} has no {name}.{missing[0]}; tiles/jit.py and tiles/libraries.py were last seen to work with Numba {SEEN}"


def test_a_compiled_kernel_has_the_cache():
    assert isinstance(jit.compiled(lambda x: x)._cache, jit.KernelCache), f"last seen with Numba {SEEN}, now {numba.__version__}"


@pytest.mark.skipif(jit.DISABLED, reason="nothing is compiled")
def test_what_only_kernels_call_is_optimised_inside_them_and_has_no_machine_code_of_its_own():
    part = jit.inlined(lambda x: x[0] + 1)
    kernel = jit.compiled(lambda x: part(x) * 2)
    assert kernel(np.ones(3)) == 4
    (inner,), (outer,) = part.overloads.values(), kernel.overloads.values()
    assert type(inner.library) is libraries.PartLibrary and type(outer.library) is libraries.KernelLibrary
    engine, name = outer.library.codegen._engine, inner.fndesc.mangled_name
    assert engine.is_symbol_defined(outer.fndesc.mangled_name) and not engine.is_symbol_defined(name)


@pytest.mark.skipif(jit.DISABLED, reason="nothing is compiled")
def test_what_only_kernels_call_is_compiled_once_for_all_constants():
    part = jit.inlined(lambda x, twice: 2 * x if twice else x)
    kernel = jit.compiled(lambda x: part(1, True) + part(x, False) + part(3, x > 1))
    assert kernel(5) == 13
    assert len(part.signatures) == 1


@pytest.mark.skipif(jit.DISABLED, reason="nothing is compiled")
def test_kernels_are_compiled_without_idle_steps():
    kernel = numba.njit(pipeline_class=libraries.KernelCompiler)(lambda x: x + 1)
    assert kernel(5) == 6
    (compiled,) = kernel.overloads.values()
    taken = {name.split("_", 1)[1] for name in compiled.metadata["pipeline_times"]["kernels"]}
    assert "native_lowering" in taken and not taken & libraries.IDLE


@pytest.mark.skipif(jit.DISABLED, reason="nothing is compiled")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("searching", [False, True])
def test_no_garbage_is_searched_for_while_a_kernel_is_compiled_and_as_before_after_it(monkeypatch, searching, fails):
    seen = []

    def look(*arguments):
        seen.append(gc.isenabled())
        if fails:
            raise ArithmeticError
        return numba.core.compiler.Compiler.compile_extra(*arguments)

    monkeypatch.setattr(libraries.ShortCompiler, "compile_extra", look, raising=False)
    before = gc.isenabled()
    (gc.enable if searching else gc.disable)()
    try:
        with pytest.raises(ArithmeticError) if fails else contextlib.nullcontext():
            numba.njit(pipeline_class=libraries.KernelCompiler)(lambda x: x + 1)(5)
        assert seen == [False] and gc.isenabled() == searching
    finally:
        (gc.enable if before else gc.disable)()
