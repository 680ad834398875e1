"""Where the kernel is kept, built and loaded when folders are full, read-only, noexec or otherwise of no use."""

import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_place import LOAD, NEEDS_A_COMPILER, Place

from rnnlab.bptt.fused import build as command
from rnnlab.bptt.fused import cache, folders, library
from rnnlab.bptt.fused.library import build

pytestmark = NEEDS_A_COMPILER
ALONE = "it is built for this process alone. RNNLAB_CACHE=FOLDER names another cache."


def told(place: Place) -> str:
    """The one line on the cache."""
    (line,) = (text for text in place.said if "RNNLAB_CACHE" in text)
    return line


def clause(number: int) -> str:
    """The system's word for an error, within a sentence."""
    text = os.strerror(number)
    return text[0].lower() + text[1:]


# --- on real file systems ---------------------------------------------------------------------------------------------

NAMESPACE = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]


def can_mount(folder: Path) -> bool:
    mount = [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(folder)]
    return (
        shutil.which("unshare") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )


def load_twice(place: Place, **mounts: tuple[str, Path]) -> list[str]:
    """What two processes, one after the other, print beside file systems that are mounted for them: options, folder."""
    for _, folder in mounts.values():
        folder.mkdir(exist_ok=True)
        if not can_mount(folder):
            pytest.skip("file systems cannot be mounted here")
    script = "".join(f"mount -t tmpfs -o mode=755,{options} none {folder} && " for options, folder in mounts.values())
    process = [sys.executable, "-c", LOAD, str(place.source)]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", f'{script}"$@" && "$@"', "sh", *process],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.stdout.count("42\n") == 2, done.stdout
    return [line for line in done.stdout.splitlines() if "RNNLAB_CACHE" in line]


@pytest.mark.parametrize(
    ("options", "why"), [("size=64k", "no space left on device"), ("ro", "read-only file system")], ids=["full", "ro"]
)
def test_where_nothing_can_be_kept_each_process_builds_for_itself(options, why, place):
    lines = load_twice(place, cache=(options, place.cache))
    assert lines == [f"The CPU kernel cannot be kept in {place.cache} ({why}); {ALONE}"] * 2
    assert place.builds == 2


def test_in_a_noexec_cache_it_is_kept_and_a_copy_is_loaded(place):
    first, second = load_twice(place, cache=("noexec", place.cache))
    assert first == second
    assert first == (
        f"The CPU kernel cannot be loaded from {place.cache} (it is mounted noexec); this process loads a copy. "
        "RNNLAB_CACHE=FOLDER names another cache."
    )
    assert place.builds == 1


@pytest.mark.parametrize("options", ["size=64k", "ro", "noexec"])
def test_with_a_good_cache_the_folder_for_temporary_files_does_not_matter(options, place, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(place.folder / "temporary"))
    assert load_twice(place, temporary=(options, place.folder / "temporary")) == []
    assert place.builds == 1


@pytest.mark.parametrize("options", ["size=64k", "ro", "noexec"])
def test_a_private_folder_that_is_of_no_use_gives_way_to_another(options, place, monkeypatch):
    temporary = place.folder / "temporary"
    monkeypatch.setenv("TMPDIR", str(temporary))
    assert len(load_twice(place, cache=("size=64k", place.cache), temporary=(options, temporary))) == 2
    assert place.builds == 2


# --- as they are feigned ----------------------------------------------------------------------------------------------


def strange(folder: Path) -> dict[str, tuple[Path | str, str]]:
    """Places that are no cache, and why."""
    (folder / "file").write_text("")
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "lock" / "kernel.lock").mkdir(parents=True)
    return {
        "a file": (folder / "file", "not a directory"),
        "below a file": (folder / "file" / "cache", "not a directory"),
        "a device": ("/dev/null", "not a directory"),
        "a link to nothing": (folder / "dangling", "not a directory"),
        "a link to itself": (folder / "loop" / "cache", "too many levels of symbolic links"),
        "too long a name": (folder / ("x" * 300), "file name too long"),
        "too long a path": (Path(folder, *["x" * 200] * 25), "file name too long"),
        "a folder in the lock's place": (folder / "lock", "is a directory"),
        "no home": ("~no-such-user/cache", "there is no such home folder"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "a file",
        "below a file",
        "a device",
        "a link to nothing",
        "a link to itself",
        "too long a name",
        "too long a path",
        "a folder in the lock's place",
        "no home",
    ],
)
def test_a_place_that_is_no_cache_is_told_and_the_process_builds_for_itself(name, place, monkeypatch):
    where, why = strange(place.folder)[name]
    monkeypatch.setenv("RNNLAB_CACHE", str(where))
    for _ in range(2):  # the second time: the next run of a sweep
        assert place.load().answer() == 42
    assert told(place) == f"The CPU kernel cannot be kept in {where} ({why}); {ALONE}"
    assert place.builds == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_keeps_nothing(number, place, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert place.load().answer() == 42
    assert told(place) == f"The CPU kernel cannot be kept in {place.cache} ({clause(number)}); {ALONE}"
    assert list(place.cache.glob("*.so")) == []


FULL = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]


def compiler_without_room(place: Place, number: int, below: object) -> None:
    """One that finds no room for its temporary files below a folder."""
    text = f"cc1plus: fatal error: error writing to t.s: {os.strerror(number)}"
    failure = f'echo "/usr/bin/ld: final link failed"; echo "{text}"; echo "collect2: error: ld returned 1 exit status"'
    place.compiler(f'case "$TMPDIR" in {below}*) {failure}; exit 1;; esac')


@pytest.mark.parametrize("number", FULL)
def test_a_compiler_that_finds_no_room_gets_another_folder(number, place):
    compiler_without_room(place, number, place.cache)
    assert place.load().answer() == 42
    assert told(place) == f"The CPU kernel cannot be kept in {place.cache} ({clause(number)}); {ALONE}"


@pytest.mark.parametrize("number", FULL)
def test_without_room_anywhere_the_refusal_says_so_for_each_folder_and_what_to_do(number, place, monkeypatch):
    compiler_without_room(place, number, "")
    monkeypatch.setattr(folders, "_temporary_folders", lambda: [place.folder, place.folder / "nothing"])
    monkeypatch.setattr(folders, "noexec", lambda folder: False)
    why = clause(number)
    assert place.refusal() == (
        f"no folder was found to build it in and load it from, not {place.cache} ({why}), {place.folder} ({why}), "
        f"{place.folder / 'nothing'} (no such file or directory); RNNLAB_CACHE=FOLDER names one"
    )
    assert all(text.startswith("Building the CPU kernel") for text in place.said)
    assert list(place.cache.glob(".*")) == []


def test_where_libraries_can_be_loaded_from_nowhere_it_is_compiled_once_at_most(place, monkeypatch):
    monkeypatch.setattr(folders, "noexec", lambda folder: True)
    monkeypatch.setattr(library, "noexec", lambda folder: True)
    monkeypatch.setattr(library.ctypes, "CDLL", refusing(place.folder))
    for _ in range(2):
        assert "mounted noexec" in place.refusal()
    assert place.builds == 1


def refusing(folder: Path):
    """`ctypes.CDLL` of a system that forbids to load what lies below a folder."""
    whole = ctypes.CDLL

    def open_library(path: str) -> ctypes.CDLL:
        if Path(path).is_relative_to(folder):
            raise OSError(f"{path}: failed to map segment from shared object")
        return whole(path)

    return open_library


def test_a_folder_that_libraries_cannot_be_loaded_from_without_being_noexec_keeps_them_too(place, monkeypatch):
    monkeypatch.setattr(library.ctypes, "CDLL", refusing(place.cache))
    assert place.load().answer() == 42
    assert "failed to map segment" in told(place)
    assert list(place.cache.glob("*.so")) != []
    assert place.load().answer() == 42
    assert place.builds == 1


def test_a_library_built_ahead_may_lie_there_too(place, monkeypatch):
    path = build(place.said.append, source=place.source, output=place.folder / "ahead.so")
    monkeypatch.setenv("RNNLAB_KERNEL", str(path))
    monkeypatch.setattr(library.ctypes, "CDLL", refusing(place.folder))
    assert place.load().answer() == 42
    assert place.said[-1].endswith("this process loads a copy. RNNLAB_KERNEL=FILE names another file.")


def test_a_library_that_can_neither_be_loaded_nor_replaced_gives_way_to_a_private_one(place, monkeypatch):
    path = place.build()
    path.unlink()
    path.write_text("of another system")
    cache.write_checksum(path)
    whole = Path.unlink

    def unlink(file: Path, **options: bool) -> None:
        if file.is_relative_to(place.cache):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        whole(file, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert place.load().answer() == 42
    assert told(place) == f"The CPU kernel cannot be kept in {place.cache} (read-only file system); {ALONE}"
    assert place.builds == 2


def test_a_private_folder_goes_with_its_build(place, monkeypatch):
    monkeypatch.setenv("RNNLAB_CACHE", "/dev/null/cache")
    monkeypatch.setenv("TMPDIR", str(place.folder / "temporary"))
    (place.folder / "temporary").mkdir()
    assert place.load().answer() == 42
    assert f"-o {place.folder / 'temporary'}" in (place.folder / "calls").read_text()
    assert list((place.folder / "temporary").iterdir()) == []


def test_the_compiler_s_temporary_files_go_into_the_cache_and_away(place):
    place.compiler(f'echo "$TMPDIR" >> {place.folder}/temporary; touch "$TMPDIR/left"')
    place.build()
    assert (place.folder / "temporary").read_text().startswith(f"{place.cache}/.kernel-")
    assert sorted(path.suffix for path in place.cache.iterdir()) == [".lock", ".sha256", ".so"]


LINKERS = {
    "a library that is missing": ("/usr/bin/ld: cannot find -lstdc++", "collect2: error: ld returned 1 exit status"),
    "clang's": ("ld.lld: error: undefined symbol: f", "clang: error: linker command failed with exit code 1"),
    "g++'s": ("t.o: undefined reference to 'f'", "collect2: error: ld returned 1 exit status"),
}


@pytest.mark.parametrize("lines", LINKERS.values(), ids=LINKERS.keys())
def test_the_linker_s_reason_is_told_and_not_that_it_failed(lines, place):
    place.compiler("".join(f'echo "{line}"; ' for line in lines) + "exit 1")
    assert place.refusal() == f"cxx could not compile the kernel: {lines[0]}"


def test_the_command_does_not_name_a_library_that_is_gone(place, monkeypatch, capsys):
    monkeypatch.setattr(command, "build", lambda say, **options: build(say, source=place.source, **options))
    monkeypatch.setenv("RNNLAB_CACHE", "/dev/null")
    assert command.main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "rnnlab: the kernel cannot be kept in /dev/null (not a directory). "
        "Name a folder with RNNLAB_CACHE, or a file with --output.\n"
    )
    assert place.builds == 0
    compiler_without_room(place, errno.ENOSPC, "")
    output = place.folder / "ahead.so"
    assert command.main(["--output", str(output)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"rnnlab: {output} cannot be written: no space left on device"
    assert not list(place.folder.glob(".kernel-*"))
