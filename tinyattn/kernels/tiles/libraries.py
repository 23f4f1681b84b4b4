"""How Numba's libraries of machine code are made here: what only kernels call is optimised inside them, once.

Numba optimises every function by itself, makes machine code of it, and does both again in whatever calls it. Of a kernel of forty
parts that took a quarter of the first call.
"""

from __future__ import annotations

import gc
from typing import Any

from llvmlite import binding
from numba.core import codegen, config
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager

# Older versions of Numba, such as 0.61, say in another way what is optimised.
TUNED = hasattr(codegen, "create_pass_builder")


class PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a function that only kernels call: linked into them as it is."""

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        """Returns 0, which is Numba's word for a function without an entry of its own."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> PartLibrary:
        return self

    def set_env(self, _name: str, _env: Any) -> None:
        """Does nothing: a part's globals have no place in memory before they are a kernel's."""


class KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel, optimised as Numba does but for loops that are unrolled: a tenth of the time, and no kernel was faster."""

    def _optimize_final_module(self) -> None:
        if not TUNED:
            super()._optimize_final_module()
            return
        cheap, builder = self._codegen._module_pass_manager(loop_vectorize=False, slp_vectorize=False, opt=0, cost="cheap")
        cheap.run(self._final_module, builder)
        options = binding.create_pipeline_tuning_options(int(config.OPT))
        options.loop_vectorization, options.slp_vectorization = bool(config.LOOP_VECTORIZE), bool(config.SLP_VECTORIZE)
        options.loop_unrolling = False
        builder = binding.create_pass_builder(self._codegen._tm, options)
        whole = builder.getModulePassManager()
        whole.add_refprune_pass()
        whole.run(self._final_module, builder)


# Steps of Numba's compiler for what no kernel here holds, such as closures and `with`, and for reports. Each goes over the whole
# function: together they were a twentieth of a first call.
IDLE = {"with_lifting", "inline_closure_likes", "rewrite_dynamic_raises", "make_function_op_code_to_jit_function", "inline_inlinables",
        "find_literally", "literal_unroll", "literal_propagation", "inline_overloads", "nopython_rewrites", "annotate_types",
        "nopython_supported_feature_validation", "dump_parfor_diagnostics"}


class ShortCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler without idle steps."""

    def define_pipelines(self) -> list[Any]:
        """Returns the steps."""
        steps, build = PassManager("kernels"), DefaultPassBuilder
        for part in (build.define_untyped_pipeline, build.define_typed_pipeline, build.define_nopython_lowering_pipeline):
            steps.passes += [step for step in part(self.state).passes if step[0].name() not in IDLE]
        steps.finalize()
        return [steps]


class PartCompiler(ShortCompiler):  # type: ignore[misc]
    """Compiles a function that only kernels call."""

    def __init__(self, typing: Any, target: Any, _library: Any, *rest: Any) -> None:
        super().__init__(typing, target, PartLibrary(target.codegen(), "part"), *rest)


class KernelCompiler(ShortCompiler):  # type: ignore[misc]
    """Compiles a kernel, whose machine code can be kept on disk."""

    def __init__(self, typing: Any, target: Any, _library: Any, *rest: Any) -> None:
        library = KernelLibrary(target.codegen(), "kernel")
        library.enable_object_caching()
        super().__init__(typing, target, library, *rest)

    def compile_extra(self, function: Any) -> Any:
        """Returns the kernel, compiled while nothing searches for cycles of garbage.

        What compiling makes, hundreds of thousands of objects, is nearly all in use until its end: the searches were an eighth of a
        first call. Numba compiles one function at a time, so that no other thread comes between.
        """
        searching = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(function)
        finally:
            if searching:
                gc.enable()
