"""A place to build small kernels in: a cache, a source, and a compiler that does as it is told."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnlab.bptt.fused import library
from rnnlab.bptt.fused.compiler import KernelUnavailable
from rnnlab.bptt.fused.library import build, load

REAL = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
NEEDS_A_COMPILER = pytest.mark.skipif(REAL is None, reason="there is no C++ compiler")

SMALL = """
#ifndef RNNLAB_SOURCE_HASH
#error no hash
#endif
extern "C" const char* rnnlab_kernel_source() { return RNNLAB_SOURCE_HASH; }
extern "C" int answer() { return ANSWER; }
"""
LOAD = "import sys; from pathlib import Path; from rnnlab.bptt.fused.library import load\n"
LOAD += "print(load(print, Path(sys.argv[1])).answer())"


class Place:
    """A cache, a small source and a compiler that counts its calls, all in one folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.cache, self.source = folder, folder / "cache", folder / "kernel.cpp"
        self.said: list[str] = []
        self.write_source("42")
        self.compiler("")
        for name in ("RNNLAB_KERNEL", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RNNLAB_CACHE", str(self.cache))
        monkeypatch.setenv("CXX", str(self.folder / "cxx"))
        monkeypatch.setattr(library, "_PRIVATE", {})

    def write_source(self, answer: str) -> None:
        self.source.write_text(SMALL.replace("ANSWER", answer))

    def compiler(self, before: str) -> None:
        """A shell script: it notes its call, does `before`, and is the real compiler."""
        script = self.folder / "cxx"
        version = f'[ "$1" = --version ] && exec {REAL} --version'
        note = f'echo "$@" >> {self.folder}/calls'
        script.unlink(missing_ok=True)  # a new file: the old one may still run, and is then busy
        script.write_text(f'#!/bin/sh\n{version}\n{note}\n{before}\nexec {REAL} "$@"\n')
        script.chmod(0o755)

    @property
    def builds(self) -> int:
        calls = self.folder / "calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def load(self) -> ctypes.CDLL:
        return load(self.said.append, self.source)

    def build(self) -> Path:
        return build(self.said.append, source=self.source)

    def start(self) -> "subprocess.Popen[str]":
        """Another process that loads the kernel and prints its answer."""
        script = [sys.executable, "-c", LOAD, str(self.source)]
        return subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def refusal(self) -> str:
        with pytest.raises(KernelUnavailable) as caught:
            self.load()
        reason = str(caught.value)
        assert "\n" not in reason
        assert not reason.endswith(".")
        return reason
