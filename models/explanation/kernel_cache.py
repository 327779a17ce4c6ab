"""The compiled kernels: made once for a machine, kept as an object file, and loaded without importing Numba.

The object file is data of this machine, made by this code: it is named after the source, the compiler's version and the
processor, and starts with a checksum, so that another version, another machine or a torn file leads to a new compilation.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from models.atomic_write import write_atomically
from models.errors import ModelsError

logger = logging.getLogger(__name__)

_CHECKSUM: Final = hashlib.sha256
_SOURCES: Final = ("lightgbm_reader.py", "kernels.py", "kernel_steps.py", "forest_layout.py", "kernel_cache.py")

# What Numba gives a kernel besides its arguments: where to put a result, and the description of an error. There is neither.
_PLACES: Final = (ctypes.c_void_p, ctypes.c_void_p)
_ROWS: Final = (ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
_MODEL: Final = (ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
_ARGUMENTS: Final[dict[str, tuple[type, ...]]] = {
    "explain": _ROWS + _MODEL,
    "land": _ROWS + _MODEL,
    "lay_out": (ctypes.c_int64, ctypes.c_int64, *(ctypes.c_void_p,) * 10),
}


class KernelsUnavailable(ModelsError):
    """The kernels can be neither read nor compiled here."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The functions of `models.explanation.kernels`; they take addresses, hold no lock, and may run in several threads."""

    explain: Callable[..., None]
    land: Callable[..., None]
    lay_out: Callable[..., None]
    engine: Any
    """Owns the machine code: it must live as long as the functions."""


_lock = threading.Lock()
_loaded: list[Kernels | KernelsUnavailable] = []


def load_kernels(cache: Path | None = None) -> Kernels:
    """The kernels, compiled if need be, which takes seconds once per machine and version.

    Args:
        cache: the folder of the object file. If it can only be read, a file that lies there is used; if none does and none
            can be written, or there is no folder, each process compiles for itself. Kernels are loaded once per process, so
            only the first call's folder counts.

    Raises:
        KernelsUnavailable: the compiler is missing, or fails on this processor; it is not asked again.
    """
    with _lock:
        if not _loaded:
            _loaded.append(_made(cache))
        found = _loaded[0]
    if isinstance(found, KernelsUnavailable):
        raise KernelsUnavailable(*found.args)
    return found


def _made(cache: Path | None) -> Kernels | KernelsUnavailable:
    # A compiler that is missing or knows no such processor fails in ways of its own.
    try:
        return _link(_object_code(cache))
    except Exception as error:
        return KernelsUnavailable(f"The kernels cannot be compiled or loaded here ({error!r}).")


def _llvm() -> Any:
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    return llvm


def _machine() -> Any:
    llvm = _llvm()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="jitdefault"
    )


def _object_code(cache: Path | None) -> bytes:
    path = None if cache is None else cache / f"kernels-{_fingerprint()}.o"
    if path is not None and (code := _read(path)) is not None:
        return code
    from models.explanation.kernels import compile_kernels

    code = compile_kernels(_machine())
    if path is None:
        logger.warning("The kernels are compiled anew in each process, as there is no folder to keep them in.")
        return code
    try:
        _write(path, code)
    except OSError as error:
        logger.warning("The kernels are compiled anew in each process, as they cannot be kept: %s.", error)
    return code


def _fingerprint() -> str:
    digest = _CHECKSUM()
    for source in _SOURCES:
        digest.update(Path(__file__).with_name(source).read_bytes())
    for package in ("numba", "llvmlite"):
        digest.update(metadata.version(package).encode())
    llvm = _llvm()
    digest.update(f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}".encode())
    return digest.hexdigest()[:24]


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = _CHECKSUM().digest_size
    if _CHECKSUM(content[size:]).digest() != content[:size]:
        logger.warning("The kernels in %s are damaged, and are compiled again.", path)
        return None
    return content[size:]


def _write(path: Path, code: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _CHECKSUM(code).digest() + code)


def _link(code: bytes) -> Kernels:
    llvm = _llvm()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()

    def function(name: str) -> Callable[..., None]:
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, *_PLACES, *_ARGUMENTS[name])
        compiled = prototype(engine.get_function_address(name))
        places = [ctypes.byref(ctypes.c_void_p()) for _ in _PLACES]

        def call(*arguments: int) -> None:
            compiled(*places, *arguments)

        return call

    return Kernels(function("explain"), function("land"), function("lay_out"), engine)
