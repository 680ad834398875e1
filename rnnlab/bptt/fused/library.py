"""The kernel as a library: one C++ file, compiled once for a machine, kept in a cache and loaded. Imports no torch."""

import ctypes
import os
from pathlib import Path

from rnnlab.bptt.fused.cache import build_in_cache, find, forget
from rnnlab.bptt.fused.compiler import (
    COMPILERS,
    KernelUnavailable,
    NoCompiler,
    Say,
    compile_kernel,
    compilers,
    source_hash,
)

SOURCE = Path(__file__).with_name("kernel.cpp")


def load(say: Say, source: Path = SOURCE) -> ctypes.CDLL:
    """The kernel, from `RNNLAB_KERNEL`, from the cache, or built now.

    Args:
        say: is told what takes time: before a build and after it.
        source: the C++ file.
    Raises:
        KernelUnavailable: with the reason.
    """
    expected = source_hash(source)
    given = os.environ.get("RNNLAB_KERNEL")
    if given:
        return _load_given(Path(given).absolute(), expected)
    path = build(say, source=source)
    try:
        return _opened(path, expected)
    except OSError:
        forget(path)  # whole, and yet not to be loaded: made where another C library is, say
    try:
        return _opened(build(say, source=source), expected)
    except OSError as error:
        raise KernelUnavailable(f"the library that was built cannot be loaded: {error}") from None


def build(say: Say, *, source: Path = SOURCE, march: str = "native", output: Path | None = None) -> Path:
    """The path of the compiled kernel, which is compiled where the cache does not hold it.

    Args:
        march: what `-march=` gets; `native` is this machine's processor.
        output: where the library goes, instead of the cache; compiled in any case.
    Raises:
        KernelUnavailable: nobody could compile it.
        OSError: `output` cannot be written.
    """
    without, failure = [], None
    for compiler in compilers():
        found = None if output else find(compiler, source, march)
        if found:
            return found
        without.append(compiler)
    for compiler in without:
        try:
            if output:
                compile_kernel(compiler, source, march, output, say)
                return output
            return build_in_cache(compiler, source, march, say)
        except KernelUnavailable as error:
            failure = failure or error
    raise failure or NoCompiler(f"no C++ compiler was found (CXX, {', '.join(COMPILERS)})")


def _opened(path: Path, expected: str) -> ctypes.CDLL:
    """The library; OSError where it cannot be loaded or is another.

    Another is not even opened: for the rest of the process the system would give it again under this path.
    """
    if expected.encode() not in path.read_bytes():
        raise OSError(f"{path} was built from another source than {expected}")
    return ctypes.CDLL(str(path))


def _source_of(library: ctypes.CDLL) -> str | None:
    try:
        function = library.rnnlab_kernel_source
    except AttributeError:
        return None
    function.restype = ctypes.c_char_p
    told = function()
    return told.decode("ascii", errors="replace") if told else None


def _load_given(path: Path, expected: str) -> ctypes.CDLL:
    if not path.is_file():
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} is no file")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} cannot be loaded: {error}") from None
    told = _source_of(library)
    if told is None:
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} is not this kernel: it does not say what it was built from")
    if told != expected:
        raise KernelUnavailable(
            f"RNNLAB_KERNEL={path} was built from another version of the source ({told}; this is {expected}); "
            "build it again with python -m rnnlab.bptt.fused.build"
        )
    return library
