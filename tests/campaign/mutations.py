"""What may have happened to a run folder: a disk that loses bytes, a hand that edits, a stranger that means harm."""

import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from helpers import seal

TEXTS = ("config.yaml", "manifest.json", "metrics.jsonl", "summary.json")
PAYLOAD = "touch pwned"
"""A command that would leave a file behind, wherever something of the folder is executed."""
SECRET = "CAMPAIGN_SECRET"
"""A variable of the environment whose value must appear nowhere."""
ODD: list[Any] = [
    [], None, {}, "x", "", -1, 0, 1e999, -0.5, 10**30, 10**400, True, [[]], {"a": [None]}, float("nan"), "\x00\x1b[31m",
    "../../outside", "x" * 10_000, "\ud800", f"${{oc.env:{SECRET}}}", "${nonexistent}", "<script>alert(1)</script>",
    {"_target_": "subprocess.getoutput", "cmd": PAYLOAD}, [0] * 1000,
]  # fmt: skip
YAML_TRAPS = [
    f"evil: !!python/object/apply:os.system ['{PAYLOAD}']\n",
    f"clipping: {{_target_: subprocess.getoutput, cmd: {PAYLOAD}}}\ncomponents: [rnnlab, subprocess]\n",
    "clipping: {_target_: rnnlab.bptt.fused.compiler._run, command: [touch, pwned], timeout: 5}\n",
    f"hydra: {{callbacks: {{x: {{_target_: subprocess.getoutput, cmd: {PAYLOAD}}}}}}}\n",
    f"hydra: {{launcher: {{_target_: subprocess.getoutput, cmd: {PAYLOAD}}}}}\n",
    f"hydra: {{job_logging: {{version: 1, handlers: {{h: {{(): os.system, command: {PAYLOAD}}}}}}}}}\n",
    "defaults: [_self_, {cell: gru}]\n",
    "a: &a [*a]\n",
    "a: &a [1,1]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nd: [*c,*c,*c]\n",
    f"name: ${{oc.env:{SECRET}}}\n",
    "? [1, 2]\n: 3\n",
    "steps: 99999999999999999999999\n",
]  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """What was done to which file; sealed: checksums were made to fit, so that only the content can tell."""

    kind: str
    file: str
    sealed: bool = False

    def __str__(self) -> str:
        return f"{self.kind} of {self.file}{', sealed' if self.sealed else ''}"


def mutate(folder: Path, draw: random.Random) -> Mutation:
    """Do one thing to one file of a run folder."""
    kind = draw.choice((*BYTES, *BYTES, *REPLACEMENTS, *STRUCTURES, *STRUCTURES, "yaml trap", "pickle", "state"))
    if kind in STRUCTURES:
        return _structure(folder, kind, draw)
    if kind == "yaml trap":
        return _yaml_trap(folder, draw)
    if kind == "pickle":
        return _pickle(folder, draw)
    if kind == "state":
        return _state(folder, draw)
    path = draw.choice(files(folder))
    if kind in BYTES:
        path.write_bytes(BYTES[kind](path.read_bytes(), draw))
    else:
        path.unlink()
        REPLACEMENTS[kind](path)
    return Mutation(kind, str(path.relative_to(folder)))


def files(folder: Path) -> list[Path]:
    """The files that a run is read from."""
    names = (*TEXTS, "adjoints.npz", "probes/*", "checkpoint/*")
    return sorted(path for name in names for path in folder.glob(name) if path.is_file())


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 8))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _zeros(content: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(content)), draw.choice((1, 15, 512, 4096))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def _junk(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.choice((1, 20, 3000))) + content[at:]


def _moved(content: bytes, draw: random.Random) -> bytes:
    a, b, c = sorted(draw.randrange(len(content) + 1) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flip,
    "zeros": _zeros,
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "junk": _junk,
    "swap": _moved,
    "empty": lambda content, draw: b"",
    "another": lambda content, draw: draw.choice((b"[]", b"null", b"{}", b'"x"', b"7", b"[" * 50_000, b"PK\x03\x04")),
}
REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "removal": lambda path: None,
    "folder in place": lambda path: (path / "inner").mkdir(parents=True),
    "link in place": lambda path: path.symlink_to(Path("outside.txt").resolve()),
    "pipe in place": lambda path: os.mkfifo(path),
}


def _replaced(node: Any, draw: random.Random) -> Any:
    """The same with one node, at any depth, replaced, removed or doubled."""
    if not isinstance(node, dict | list) or not node or draw.random() < 0.15:
        return draw.choice(ODD)
    if isinstance(node, list):
        at = draw.randrange(len(node))
        return [*node[:at], _replaced(node[at], draw), *node[at + 1 :]]
    key = draw.choice(list(node))
    what = draw.random()
    if what < 0.2:
        return {k: v for k, v in node.items() if k != key}
    if what < 0.3:
        return node | {draw.choice(("extra", "../x", "_target_", "hydra")): draw.choice(ODD)}
    return node | {key: _replaced(node[key], draw)}


def _structure(folder: Path, kind: str, draw: random.Random) -> Mutation:
    """A value of another type or size in a file that parses."""
    sealed = kind.startswith("sealed")
    name = draw.choice([name for name in TEXTS if (folder / name).exists()])
    path = folder / name
    text = path.read_text()
    if name == "config.yaml":
        head, _, _ = text.partition("\ntask:")
        changed = f"{head}\n{yaml.safe_dump(_replaced(yaml.safe_load(text), draw), allow_unicode=False)}"
    elif name == "metrics.jsonl":
        lines = text.splitlines()
        at = draw.randrange(len(lines))
        changed = "\n".join([*lines[:at], json.dumps(_replaced(json.loads(lines[at]), draw)), *lines[at + 1 :]]) + "\n"
    else:
        changed = json.dumps(_replaced(json.loads(text), draw))
    path.write_text(changed, errors="replace")
    if sealed:
        _seal(folder)
    return Mutation("structure", name, sealed)


STRUCTURES = ("structure", "sealed structure")


def _seal(folder: Path) -> None:
    """Checksums over whatever is there, as far as it still has the form to carry some."""
    try:
        seal(folder)
    except Exception:  # no manifest that could be sealed: it stays as the mutation left it
        return


def _yaml_trap(folder: Path, draw: random.Random) -> Mutation:
    path = folder / "config.yaml"
    trap = draw.choice(YAML_TRAPS)
    replaced = trap.partition(":")[0]
    lines, kept, skipping = path.read_text().splitlines(keepends=True), [], False
    for line in lines:
        skipping = line.startswith(f"{replaced}:") or (skipping and line.startswith((" ", "-")))
        kept += [] if skipping else [line]
    path.write_text("".join(kept) + trap)
    _seal(folder)
    return Mutation("trap", "config.yaml", sealed=True)


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, (PAYLOAD,)


def _pickle(folder: Path, draw: random.Random) -> Mutation:
    """An archive or a checkpoint with a pickle inside that runs a command."""
    path = draw.choice([p for p in files(folder) if p.suffix in (".npz", ".pt")])
    if path.suffix == ".npz":
        np.savez(path, seed=np.array([0]), norm=np.array([_Evil()], dtype=object))
        _seal(folder)
    else:
        buffer = io.BytesIO()
        torch.save({"run_id": folder.name, "population": _Evil()}, buffer)
        path = _rename(path, buffer.getvalue())
    return Mutation("pickle", str(path.relative_to(folder)), sealed=True)


def _state(folder: Path, draw: random.Random) -> Mutation:
    """A checkpoint of another shape, under a name with the right checksum."""
    path = draw.choice(sorted((folder / "checkpoint").glob("*.pt")))
    state = _replaced_state(torch.load(path, weights_only=True), draw)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return Mutation("state", str(_rename(path, buffer.getvalue()).relative_to(folder)), sealed=True)


def _replaced_state(node: Any, draw: random.Random) -> Any:
    if isinstance(node, torch.Tensor):
        others = (node[..., :1], node.flatten(), node.double(), node.to(torch.int8), torch.zeros(()), torch.zeros(0), 5)
        return draw.choice(others)
    if not isinstance(node, dict | list) or not node or draw.random() < 0.1:
        return draw.choice([odd for odd in ODD if not isinstance(odd, str) or odd.isascii()])
    if isinstance(node, list):
        at = draw.randrange(len(node))
        return [*node[:at], _replaced_state(node[at], draw), *node[at + 1 :]]
    key = draw.choice(list(node))
    if draw.random() < 0.2:
        return {k: v for k, v in node.items() if k != key}
    return node | {key: _replaced_state(node[key], draw)}


def _rename(path: Path, content: bytes) -> Path:
    path.unlink()
    step = path.name.split("-")[1]
    renamed = path.with_name(f"step-{step}-{hashlib.sha256(content).hexdigest()[:16]}.pt")
    renamed.write_bytes(content)
    return renamed


def copy(source: Path, target: Path) -> Path:
    """A fresh folder to do harm to."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target
