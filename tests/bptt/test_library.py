"""The kernel's library: built once, found again, and never loaded when it is damaged, stale or half written."""

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kernel_place import NEEDS_A_COMPILER, REAL, SMALL, Place
from processes import finish, wait_until

from rnnlab.bptt.fused import build as command
from rnnlab.bptt.fused import cache, compiler
from rnnlab.bptt.fused.cache import key
from rnnlab.bptt.fused.compiler import NoCompiler, source_hash
from rnnlab.bptt.fused.library import build

OTHER_MARCH = "x86-64-v3" if platform.machine() == "x86_64" else "armv8-a"
pytestmark = NEEDS_A_COMPILER


def test_it_is_built_once_with_two_messages_and_then_found_in_silence(place):
    assert place.load().answer() == 42
    assert place.builds == 1
    assert len(place.said) == 2
    assert place.said[0].startswith("Building the CPU kernel, once for this machine (about ")
    assert place.said[1].startswith("The CPU kernel is built (")
    assert place.load().answer() == 42
    assert place.builds == 1
    assert len(place.said) == 2


def test_another_process_finds_it(place):
    place.build()
    assert finish(place.start())[0] == "42\n"
    assert place.builds == 1


def test_the_key_changes_with_each_of_its_parts():
    parts = {"source": "a", "flags": ("-O3",), "compiler": "g++ 12", "torch": "2.13.0", "cpu": "x"}
    changes = [{}, {"source": "b"}, {"flags": ("-O2",)}, {"compiler": "g++ 13"}, {"torch": "2.14.0"}, {"cpu": "y"}]
    assert len({key(**{**parts, **change}) for change in changes}) == len(changes)


def test_another_source_processor_torch_or_compiler_gives_another_library(place, monkeypatch):
    paths = [place.build()]
    place.write_source("43")
    paths.append(place.build())
    assert place.load().answer() == 43
    monkeypatch.setattr(cache, "cpu", lambda: "another")
    paths.append(place.build())
    monkeypatch.setattr(cache.importlib.metadata, "version", lambda name: f"{name} 9")
    paths.append(place.build())
    paths.append(build(place.said.append, source=place.source, march=OTHER_MARCH))
    shutil.copy(place.folder / "cxx", place.folder / "another")
    monkeypatch.setenv("CXX", str(place.folder / "another"))
    paths.append(place.build())
    assert len(set(paths)) == len(paths) == place.builds


def test_the_processor_is_known():
    assert len(cache.cpu()) > 3


def test_two_processes_at_once_build_one_library(place):
    place.compiler(f"while [ ! -e {place.folder}/go ]; do sleep 0.01; done")
    first = place.start()
    wait_until(lambda: place.builds)
    second = place.start()
    assert "Waiting for another process" in second.stdout.readline()
    (place.folder / "go").touch()
    assert all(finish(process)[0].endswith("42\n") for process in (first, second))
    assert place.builds == 1


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "flipped": lambda content: content[:2000] + bytes(255 - b for b in content[2000:4000]) + content[4000:],
    "text": lambda content: b"not a library",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_library_is_built_again(damage, place):
    path = place.build()
    whole = path.read_bytes()
    path.unlink()  # a new file: the old one may be in use in this process
    path.write_bytes(damage(whole))
    assert finish(place.start())[0].endswith("42\n")
    assert place.builds == 2


def test_a_whole_library_that_cannot_be_loaded_is_built_again_once(place):
    path = place.build()
    path.unlink()
    path.write_text("of another system")
    cache.write_checksum(path)
    assert place.load().answer() == 42
    assert place.builds == 2


def test_a_library_of_another_source_is_not_opened_and_built_again(place):
    path = place.build()
    path.unlink()
    place.write_source("43")
    build(place.said.append, source=place.source, output=path)
    cache.write_checksum(path)
    place.write_source("42")
    assert place.load().answer() == 42  # an open handle would have been given again for the same path
    assert place.builds == 3


def test_what_cannot_be_loaded_even_when_it_is_new_is_told(place):
    place.source.write_text('extern "C" int answer() { return 42; }')  # it does not say what it was built from
    assert "cannot be loaded" in place.refusal()
    assert place.builds == 2
    for _ in range(2):  # the next starts
        assert "once the file is removed, it is built again" in place.refusal()
    assert place.builds == 2
    next(place.cache.glob("*.so")).unlink()
    place.refusal()
    assert place.builds == 3


def test_no_compiler_is_a_reason(place, monkeypatch):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(place.folder / "nothing"))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoCompiler, match=r"^no C\+\+ compiler was found \(CXX, c\+\+, g\+\+, clang\+\+\)$"):
        place.load()
    assert place.said == []


@pytest.mark.parametrize("given", ["no-such-compiler", "false", "'", " "])
def test_a_compiler_that_was_named_is_the_only_one_tried(given, place, monkeypatch):
    monkeypatch.setenv("CXX", given)
    assert place.refusal().startswith(f"CXX={given} ")
    assert place.builds == 0


def test_a_compiler_may_be_named_with_arguments(place, monkeypatch):
    monkeypatch.setenv("CXX", f"{place.folder / 'cxx'} -DUNUSED='a b'")
    assert place.load().answer() == 42


def test_a_compiler_that_fails_is_told_as_it_was_named(place, monkeypatch):
    place.compiler('case "$*" in *--version) exit 0;; esac; echo "error: nothing works"; exit 1')
    monkeypatch.setenv("CXX", f"{place.folder / 'cxx'} -O1 -m32 --bogus")
    assert place.refusal() == "cxx -O1 -m32 --bogus could not compile the kernel: error: nothing works"


def test_a_compiler_that_fails_gives_way_to_the_next(place, monkeypatch):
    monkeypatch.delenv("CXX")
    bad = place.folder / "c++"
    bad.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "error: no headers"; exit 1; }\n')
    bad.chmod(0o755)
    (place.folder / "cxx").rename(place.folder / "g++")
    monkeypatch.setenv("PATH", str(place.folder), prepend=os.pathsep)
    assert place.load().answer() == 42
    assert place.builds == 1


@pytest.mark.parametrize(("refused", "passed"), [("-march=native", "-mcpu=native"), ("*native", "kernel.cpp")])
def test_a_compiler_that_does_not_know_native_is_asked_otherwise(refused, passed, place):
    loop = f'for a in "$@"; do case "$a" in {refused}) echo "error: bad $a"; exit 1;; esac; done'
    drop = 'set -- $(for a in "$@"; do case "$a" in -mcpu=*) ;; *) printf "%s " "$a";; esac; done)'
    place.compiler(f"{loop}\n{drop}")
    assert place.load().answer() == 42
    last = (place.folder / "calls").read_text().splitlines()[-1]
    assert passed in last
    assert "-march=native" not in last


def test_a_syntax_error_is_told_by_its_first_line_and_not_tried_for_another_processor(place):
    place.source.write_text("int good;\nint bad = ;\nint worse = ;\n")
    reason = place.refusal()
    assert reason.startswith("cxx could not compile the kernel: kernel.cpp:2:")
    assert "error" in reason
    assert "3:" not in reason.replace("2:", "")
    assert place.builds == 1
    assert not list(place.cache.glob("*.so"))
    assert not list(place.cache.glob(".kernel-*.tmp"))


def test_a_source_that_is_not_there_is_a_reason(place):
    place.source.unlink()
    assert "kernel.cpp" in place.refusal()


def plant(place: Place) -> Path:
    """A library under the right name, with the right hash in it and the right checksum, that answers 666."""
    path = place.build()
    path.unlink()
    evil = place.folder / "evil.cpp"
    evil.write_text(SMALL.replace("ANSWER", "666"))
    define = f'-DRNNLAB_SOURCE_HASH="{source_hash(place.source)}"'
    subprocess.run([str(REAL), "-shared", "-fPIC", define, evil, "-o", path], check=True)
    cache.write_checksum(path)
    return path


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the path belong to another user: by its owner where we may set that, else by who we say we are."""
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)


def test_a_good_library_in_a_folder_of_our_own_is_taken(place):
    plant(place)
    assert place.load().answer() == 666  # it shows that the next tests' library would work


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_can_write_to_is_not_used(mode, place):
    plant(place)
    place.cache.chmod(mode)
    for _ in range(2):  # the second time: the next run of a sweep
        assert place.load().answer() == 42
    assert place.builds == 2
    (told,) = (text for text in place.said if "cannot be kept" in text)
    assert told == (
        f"The CPU kernel cannot be kept in {place.cache} (others may write to it); it is built for this process alone. "
        "RNNLAB_CACHE=FOLDER names another cache."
    )


def test_a_folder_of_another_user_is_not_used(place, monkeypatch):
    plant(place)
    give_away(place.cache, monkeypatch)
    assert place.load().answer() == 42
    (told,) = (text for text in place.said if "cannot be kept" in text)
    assert "(it belongs to another user)" in told


@pytest.mark.parametrize("mode", [0o757, 0o775])
def test_a_library_that_others_can_write_to_is_built_again(mode, place):
    plant(place).chmod(mode)
    assert place.load().answer() == 42
    assert place.builds == 2


def test_a_library_of_another_user_is_not_used(place, monkeypatch):
    give_away(plant(place), monkeypatch)
    assert place.load().answer() == 42
    assert place.builds == 2


def test_where_there_are_no_users_the_cache_is_used(place, monkeypatch):
    monkeypatch.delattr(os, "getuid")
    place.build()
    place.cache.chmod(0o777)
    assert place.load().answer() == 42
    assert place.builds == 1


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_what_is_built_can_be_read_by_others_and_not_written_whatever_the_umask(umask, place):
    before = os.umask(umask)
    try:
        path = place.build()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o755
    assert path.with_suffix(".sha256").stat().st_mode & 0o777 == 0o644
    assert place.cache.stat().st_mode & 0o777 == 0o755 & ~umask
    assert place.load().answer() == 42
    assert place.builds == 1


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert cache.cache_folder() == tmp_path / "a"
    monkeypatch.delenv("RNNLAB_CACHE")
    assert cache.cache_folder() == tmp_path / "b" / "rnnlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == tmp_path / "c" / ".cache" / "rnnlab"


def test_a_library_built_ahead_is_used_as_it_is(place, monkeypatch):
    path = build(place.said.append, source=place.source, output=place.folder / "ahead.so")
    monkeypatch.setenv("RNNLAB_KERNEL", str(path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert place.load().answer() == 42
    assert not place.cache.exists()


def test_a_library_built_ahead_that_does_not_fit_is_refused_with_the_reason(place, monkeypatch):
    path = build(place.said.append, source=place.source, output=place.folder / "ahead.so")
    monkeypatch.setenv("RNNLAB_KERNEL", str(path))
    old = source_hash(place.source)
    place.write_source("43")
    reason = place.refusal()
    assert reason.startswith(f"RNNLAB_KERNEL={path} was built from another version of the source")
    assert old in reason
    assert source_hash(place.source) in reason
    other = place.folder / "other.so"
    (place.folder / "other.cpp").write_text("int nothing;")
    subprocess.run([str(REAL), "-shared", "-fPIC", place.folder / "other.cpp", "-o", other], check=True)
    (place.folder / "text.so").write_text("not a library")
    for wrong, words in (("other.so", "does not say"), ("text.so", "cannot be loaded"), ("none.so", "is no file")):
        monkeypatch.setenv("RNNLAB_KERNEL", str(place.folder / wrong))
        assert words in place.refusal()


# --- python -m rnnlab.bptt.fused.build --------------------------------------------------------------------------------


@pytest.fixture
def small(place, monkeypatch):
    """The command, with the small source."""
    monkeypatch.setattr(command, "build", lambda say, **options: build(say, source=place.source, **options))
    return place


def test_the_command_prints_the_path_alone(small, capsys):
    assert command.main([]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{small.build()}\n"
    assert "Building the CPU kernel" in captured.err
    target = small.folder / "kernel-v3.so"
    assert command.main(["--march", OTHER_MARCH, "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert f"-march={OTHER_MARCH}" in (small.folder / "calls").read_text().splitlines()[-1]
    assert command.main(["--output", str(target)]) == 0  # again: it was asked for
    assert small.builds == 3


@pytest.mark.parametrize("argument", ["--march=a b", "--output=no/folder/x.so", "--output=.", "--mach"])
def test_a_wrong_argument_is_one_line(argument, small, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([argument])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert small.builds == 0


def test_the_command_shows_what_the_compiler_said_last(small, capsys):
    small.source.write_text("\n".join(f"int bad{i} = ;" for i in range(30)))
    assert command.main([]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("bad29" in line for line in lines)
    assert lines[-1].startswith("rnnlab: cxx could not compile the kernel: kernel.cpp:1:")
    assert len(lines) <= command.LINES + 2


def test_threads_of_one_process_build_once_too(place):
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(lambda _: place.build(), range(3)))) == 1
    assert place.builds == 1
