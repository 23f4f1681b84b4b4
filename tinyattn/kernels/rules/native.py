"""Machine code from LLVM's text, and where it is kept: one file per text, so that another process compiles nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite
from llvmlite import binding, ir

from tinyattn.kernels.tiles.jit import cache_folder
from tinyattn.kernels.tiles.lanes import VECTOR_BYTES, cpu_features

DIGEST = hashlib.sha256().digest_size
LOCK = threading.Lock()
# Addresses of functions by their key, and what keeps their code in memory.
ADDRESSES: dict[str, int] = {}
ENGINES: list[Any] = []


def key_of(text: str) -> str:
    """Returns the name of the code that `text` stands for."""
    return hashlib.sha256(f"{compiler()}\n{text}".encode()).hexdigest()[:32]


def address(key: str, build: Callable[[], ir.Module]) -> int:
    """Returns the address of the function "rule" of the code with this name, compiled, read from the disk or known already."""
    with LOCK:
        if key not in ADDRESSES:
            code = read(key)
            if code is None:
                code = compiled(build())
                write(key, code)
            ADDRESSES[key] = loaded(code)
        return ADDRESSES[key]


@cache
def compiler() -> str:
    """Returns what compiles and for which processor; finding it out takes as long as tracing a rule."""
    features = ",".join(sorted(name for name, there in cpu_features().items() if there))
    return f"{llvmlite.__version__} {binding.get_process_triple()} {binding.get_host_cpu_name()} {features} {VECTOR_BYTES}"


def machine() -> Any:
    """Returns LLVM's description of the processor that is compiled for."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = ",".join(("+" if there else "-") + name for name, there in sorted(cpu_features().items()))
    return binding.Target.from_triple(binding.get_process_triple()).create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True)


def compiled(module: ir.Module) -> bytes:
    """Returns the object code of a module."""
    target = machine()
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    builder = binding.create_pass_builder(target, binding.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(parsed, builder)
    code: bytes = target.emit_object(parsed)
    return code


def loaded(code: bytes) -> int:
    """Returns the address of the function "rule" of object code, which stays in memory."""
    empty = binding.parse_assembly("")
    engine = binding.create_mcjit_compiler(empty, machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    ENGINES.append(engine)
    found: int = engine.get_function_address("rule")
    return found


def read(key: str) -> bytes | None:
    """Returns the object code in a file; None where there is none, or one that was cut short or changed."""
    with contextlib.suppress(OSError):
        held = (cache_folder() / f"rule-{key}.o").read_bytes()
        if hashlib.sha256(held[DIGEST:]).digest() == held[:DIGEST]:
            return held[DIGEST:]
    return None


def write(key: str, code: bytes) -> None:
    """Writes object code behind its digest; nothing is kept if the folder cannot be written to."""
    with contextlib.suppress(OSError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(name, folder / f"rule-{key}.o")
