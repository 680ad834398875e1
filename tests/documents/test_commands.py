"""Every command in the documents is carried out as it stands, at tiny sizes.

Placeholders are filled in, and what the documents mark as optional is given. A block that begins with `# FILE` is
written to that file before. `make` is asked what it would do, and that is carried out. Benchmarks are only parsed:
tests/benchmarks runs each of them.
"""

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.__main__ import parser as benchmarks
from rnnlab import catalogue
from rnnlab.bptt.fused import build
from rnnlab.cli import run_command_line
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.example import show
from rnnlab.report.__main__ import main as report
from rnnlab.sweep import local_pool

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").rglob("*.md")),
]
PROGRAMS = ("python -m ", "python -c ", "make ", "pip install ", "hydra/launcher=", "BASE=")
PLACEHOLDERS = {"NAME": "adding", "COMMAND": "unroll", "RUNS…": "runs", "…": "rnn"}
SMALL = {
    "steps": 2,
    "task.batch": 2,
    "task.length": 24,
    "cell.hidden": 4,
    "evaluate.examples": 4,
    "probe.every": 1,
    "seeds": 1,
}
SMALL |= {"hydra.sweeper.trials": 2, "tensorboard": "false"}
KEPT = {"cell.hidden": {"match_parameters", "cell.hidden"}, "seeds": {"seeds"}}
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
MISTAKES = ("cell=lstmm",)
"""What documents show to be refused."""


class Here:
    """The pool of a sweep, whose jobs are done in this process: what pools do has tests of its own."""

    slots = threads = composers = 1
    retries = 0

    def __init__(self, **_):
        pass

    def describe(self):
        return "here"

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future

    def death(self, error):
        return None

    def shrink(self):
        return False

    def stop(self):
        pass

    def close(self, *, at_once):
        pass


@dataclass
class Command:
    line: int
    text: str

    def __str__(self):
        return f"line {self.line}: {self.text}"


def commands(document):
    """Those of fenced blocks, and those within a sentence."""
    text, found = document.read_text(), []

    def add(start, command):
        command = " ".join(command.replace("\\\n", " ").split())
        if command.startswith(PROGRAMS):
            found.append(Command(text.count("\n", 0, start) + 1, command))

    for block in FENCED.finditer(text):
        lines = re.sub(r"(?<!\S)# .*", lambda comment: " " * len(comment.group()), block.group(1))
        for command in re.finditer(r"^\S.*(?:\n +\S.*)*", lines, re.MULTILINE):
            add(block.start(1) + command.start(), command.group())
    sentences = re.sub(
        r"^```\w*\n.*?^```", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.DOTALL | re.MULTILINE
    )
    for span in re.finditer(r"`([^`]+)`", sentences):
        add(span.start(), span.group(1))
    return sorted(found, key=lambda command: command.line)


def write_files(document, folder):
    """Those that it shows."""
    for block in FENCED.finditer(document.read_text()):
        if named := FILE.match(block.group(1)):
            path = folder / named.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.group(1))


def snippets(document):
    """Those of Python that are no files."""
    found = re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
    return [snippet for snippet in found if not FILE.match(snippet)]


class Session:
    """The commands of one document, given one after the other in a folder that holds one run."""

    def __init__(self, folder):
        self.variables = {"FILE": str(folder / "file")}
        self.train(["+experiment=adding"])
        (run,) = Path("runs/adding").iterdir()
        self.variables |= {"RUN": str(run), "<run_id>": run.name}

    def __call__(self, text):
        if named := re.fullmatch(r"BASE=\"(.*)\"", text):
            self.variables["$BASE"] = named.group(1)
            return
        words = [found for word in shlex.split(self.plain(text)) for found in self.expanded(self.filled(word))]
        if words[0] == "make":
            self.make(words[1:])
        elif words[:2] == ["pip", "install"]:
            self.install(words[2:])
        elif words[0].startswith("hydra/launcher="):
            self.launch(words)
        elif words[1] == "-c":
            sys.path[:0] = [""]
            exec(words[2], {})
        else:
            self.program(words[2].strip("…"), words[3:])

    def plain(self, text):
        """Without the marks of grammar: what is optional is given, of alternatives the first is."""
        text = text.replace("$BASE", self.variables.get("$BASE", ""))
        text = re.sub(r"(?<=\s)\[((?:--|cell=)[^\]]*)\]", r"\1", text)
        return re.sub(r"(?<=\s)([a-z]+)(\|[a-z]+)+", r"\1", re.sub(r"(?<= )[KNRXY](?=\s|$)", "10", text))

    def filled(self, word):
        for placeholder, value in {**PLACEHOLDERS, **self.variables}.items():
            word = re.sub(rf"(?<![A-Za-z]){re.escape(placeholder)}(?![A-Za-z])", lambda _, v=value: v, word)
        return word

    def expanded(self, word):
        """As a shell does it."""
        return sorted(map(str, Path().glob(word))) or [word] if word.endswith("*") else [word]

    def program(self, module, arguments):
        if not arguments:  # the name of a program, within a sentence
            assert importlib.util.find_spec(module), module
        elif module == "rnnlab":
            self.train(arguments)
        elif module == "rnnlab.example":
            assert run_command_line(arguments, show) == 0
        elif module == "rnnlab.report":
            assert report(arguments) == 0
        elif module == "rnnlab.diagnose":
            assert diagnose(arguments) == 0
        elif module == "rnnlab.bptt.fused.build":
            assert build.main(arguments) == 0
        elif module == "rnnlab.catalogue":
            assert catalogue.main([*arguments, "--check"]) == 0
        elif module == "benchmarks":
            self.benchmark(arguments)
        else:
            raise AssertionError(f"who carries out {module}?")

    def train(self, arguments):
        given = {word.split("=")[0] for word in arguments}
        if "--help" in arguments or not given.isdisjoint(("--cfg",)):
            assert run_command_line(arguments) == 0
        elif any(mistake in arguments for mistake in MISTAKES):
            assert run_command_line(arguments) == 2
        else:
            small = {
                key: value
                for key, value in SMALL.items()
                if not (key in ("cell.hidden", "seeds") and given & KEPT[key])
            }
            small = {key: value for key, value in small.items() if key in given or not key.startswith("hydra.")}
            kept = [word for word in arguments if word.split("=")[0] not in small]
            assert run_command_line([*kept, *(f"{key}={value}" for key, value in small.items())]) == 0

    def benchmark(self, arguments):
        if "--help" in arguments:
            with pytest.raises(SystemExit, match="0"):
                benchmarks().parse_args(arguments)
        else:
            benchmarks().parse_args(arguments)

    def launch(self, words):
        """What a sweep is launched by. Ray has a cluster in tests/sweep/test_ray.py."""
        if "hydra/launcher=ray" in words:
            assert run_command_line(["+experiment=smoke", *words, "--cfg", "all"]) == 0
        else:
            cluster = ["hydra.launcher.cluster=local"] if "hydra/launcher=slurm" in words else []
            self.train(["-m", "+experiment=smoke", "cell=rnn,gru", *words, *cluster])

    def make(self, arguments):
        asked = subprocess.run(
            ["make", "-n", "-o", ".venv/.installed", *(word.replace("=rnn", "=1") for word in arguments)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for line in asked.stdout.splitlines():
            words = shlex.split(line)
            if words[1:2] == ["-m"] and words[2].startswith("rnnlab"):
                self.program(words[2], words[3:])

    def install(self, words):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        if "-c" in words:
            assert (ROOT / words[words.index("-c") + 1]).is_file()
        for extra in re.findall(r"\[(.*?)\]", " ".join(words)):
            assert extra in extras


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=lambda d: str(d.relative_to(ROOT)))
def test_every_command_is_right(document, in_tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local_pool, "LocalPool", Here)
    monkeypatch.setattr("rnnlab.sweep.sweep.LocalPool", Here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    write_files(document, in_tmp_path)
    carry_out = Session(in_tmp_path)
    for command in commands(document):
        try:
            carry_out(command.text)
        except BaseException as error:
            error.add_note(f"{document.name}, {command}\n{capsys.readouterr().err}")
            raise


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if snippets(d)], ids=lambda d: str(d.relative_to(ROOT)))
def test_every_snippet_of_python_runs(document, in_tmp_path):
    folder = Session(in_tmp_path).variables["<run_id>"]
    for snippet in snippets(document):
        exec(snippet.replace("<run_id>", folder), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_what_a_document_points_to_is_there(document):
    text = document.read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[\w-]+)?\)", text):
        assert (document.parent / link).exists(), link
    for path, name in re.findall(r"`(?:tests/)?([\w/]+\.py)::(test_\w+)`", text):
        assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(), f"{path}::{name}"


def test_there_are_commands():
    assert sum(len(commands(document)) for document in DOCUMENTS) > 60
