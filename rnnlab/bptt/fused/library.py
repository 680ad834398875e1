"""The kernel as a library: one C++ file, compiled once for a machine, kept in a cache and loaded. Imports no torch."""

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rnnlab.bptt.fused.cache import CacheError, find, forget, give_up, given_up, keep
from rnnlab.bptt.fused.compiler import (
    COMPILERS,
    Compiler,
    KernelUnavailable,
    NoCompiler,
    Say,
    announced,
    compile_kernel,
    compilers,
    source_hash,
)
from rnnlab.bptt.fused.folders import in_private_folder, noexec, workplace

SOURCE = Path(__file__).with_name("kernel.cpp")
WAY_OUT = "RNNLAB_CACHE=FOLDER names another cache."

_PRIVATE: dict[str, ctypes.CDLL] = {}
"""What this process has built for itself, by the hash of its source; the files are gone."""

Result = TypeVar("Result")


def load(say: Say, source: Path = SOURCE) -> ctypes.CDLL:
    """The kernel, from `RNNLAB_KERNEL`, from the cache, or built now: into the cache, else for this process alone.

    Args:
        say: is told what takes time: before a build and after it; and why the cache is not used.
        source: the C++ file.
    Raises:
        KernelUnavailable: with the reason.
    """
    expected = source_hash(source)
    given = os.environ.get("RNNLAB_KERNEL")
    if given:
        return _load_given(Path(given).absolute(), expected, say)
    if expected not in _PRIVATE:
        try:
            return _load_kept(source, expected, say)
        except CacheError as error:
            refused = str(error)
        _PRIVATE[expected] = _first_that_can(lambda compiler: _load_private(compiler, source, expected, refused, say))
        say(f"The CPU kernel cannot be kept in {refused}; it is built for this process alone. {WAY_OUT}")
    return _PRIVATE[expected]


def build(say: Say, *, source: Path = SOURCE, march: str = "native", output: Path | None = None) -> Path:
    """The path of the compiled kernel, which is compiled where the cache does not hold it.

    Args:
        march: what `-march=` gets; `native` is this machine's processor.
        output: where the library goes, instead of the cache; compiled in any case.
    Raises:
        KernelUnavailable: nobody could compile it.
        CacheError: it cannot be kept in the cache.
        OSError: `output` cannot be written.
    """
    if output:
        return _first_that_can(lambda compiler: _build_into(output, compiler, source, march, say))
    for compiler in compilers():
        found = find(compiler, source, march)
        if found:
            return found
    return _first_that_can(lambda compiler: keep(compiler, source, march, say))


def _first_that_can(do: Callable[[Compiler], Result]) -> Result:
    """What `do` gives for the first compiler that it does not raise KernelUnavailable for."""
    failure = None
    for compiler in compilers():
        try:
            return do(compiler)
        except KernelUnavailable as error:
            failure = failure or error
    raise failure or NoCompiler(f"no C++ compiler was found (CXX, {', '.join(COMPILERS)})")


def _build_into(output: Path, compiler: Compiler, source: Path, march: str, say: Say) -> Path:
    with workplace(output.parent) as folder, announced(compiler, say, output):
        compile_kernel(compiler, source, march, folder / output.name)
        (folder / output.name).replace(output)
    return output


def _load_kept(source: Path, expected: str, say: Say) -> ctypes.CDLL:
    path = build(say, source=source)
    try:
        return _opened(path, expected, say)
    except OSError as error:
        if given_up(path):
            raise _unloadable(error) from None
    forget(path)  # whole, and yet not to be loaded: made where another C library is, say
    path = build(say, source=source)
    try:
        return _opened(path, expected, say)
    except OSError as error:
        give_up(path)
        raise _unloadable(error) from None


def _load_private(compiler: Compiler, source: Path, expected: str, refused: str, say: Say) -> ctypes.CDLL:
    def built_and_opened(folder: Path) -> ctypes.CDLL:
        path = folder / "kernel.so"
        with announced(compiler, say):
            compile_kernel(compiler, source, "native", path)
        try:
            return _opened(path, expected, say)
        except OSError as error:
            raise _unloadable(error) from None

    return in_private_folder(built_and_opened, refused)


def _unloadable(error: OSError) -> KernelUnavailable:
    return KernelUnavailable(
        f"the library that was built cannot be loaded: {error} (CXX=COMMAND names another compiler; "
        "once the file is removed, it is built again)"
    )


def _opened(path: Path, expected: str, say: Say) -> ctypes.CDLL:
    """The library; OSError where it cannot be loaded or is another.

    Another is not even opened: for the rest of the process the system would give it again under this path.
    """
    if expected.encode() not in path.read_bytes():
        raise OSError(f"{path} was built from another source than {expected}")
    return _open(path, say)


def _open(path: Path, say: Say, way_out: str = WAY_OUT) -> ctypes.CDLL:
    """The library, or a copy of it where it is the folder that forbids loading; OSError where it is the library."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        refusal = error
    try:
        library = in_private_folder(lambda folder: ctypes.CDLL(str(shutil.copy(path, folder))))
    except KernelUnavailable:
        if noexec(path.parent):
            raise
        raise refusal from None
    cause = "it is mounted noexec" if noexec(path.parent) else refusal
    say(f"The CPU kernel cannot be loaded from {path.parent} ({cause}); this process loads a copy. {way_out}")
    return library


def _source_of(library: ctypes.CDLL) -> str | None:
    try:
        function = library.rnnlab_kernel_source
    except AttributeError:
        return None
    function.restype = ctypes.c_char_p
    told = function()
    return told.decode("ascii", errors="replace") if told else None


def _load_given(path: Path, expected: str, say: Say) -> ctypes.CDLL:
    if not path.is_file():
        raise KernelUnavailable(f"RNNLAB_KERNEL={path} is no file")
    try:
        library = _open(path, say, "RNNLAB_KERNEL=FILE names another file.")
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
