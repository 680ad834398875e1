"""A law over generated command lines: what is wrong is one short line and exit status 2, and nothing is written."""

import random
import re
import string

import pytest

from rnnlab.cli import run_command_line

RIGHT = [
    ["+experiment=smoke", "cell=gru", "seeds=[0,1]", "name='a'"],
    ["task=copy", "task.length=20", "--cfg", "job", "optimiser.lr=1e-3"],
    ["-m", "+experiment=smoke", "cell=lstm,gru", "hydra.launcher.jobs=2"],
    ["cell=rnn", "~task.shortest", "--info", "config", "+probe@probes.weights=weights"],
]
TEXT = string.ascii_letters + string.digits + " é\n\t\x00'\"[]{}(),=$\\#%&~+-/.:@"


def _strange(rng):
    return "".join(rng.choices(TEXT, k=rng.choice((1, 3, 10, 5000))))


BREAK = {
    "an option that is none": lambda rng: ["--" + rng.choice(("nope", "exp", "multi", "lr", "cell.hidden", "")) + "x"],
    "an option of strange text": lambda rng: ["--" + _strange(rng).replace("=", "") + "!"],
    "an option without its value": lambda rng: [rng.choice(("--cfg", "--package", "-cd", "--config-name")), "-m"],
    "a wrong choice": lambda rng: [rng.choice(("--cfg=", "-c=", "--info=", "-i=")) + rng.choice(("nope", "", "JOB"))],
    "a word": lambda rng: [rng.choice(("gru", "smoke", "", "+", "~", "@", "cell:gru", "5", "é"))],
    "no key": lambda rng: [rng.choice(("", "+", "++", "~", "1", "a b", "a\nb", "'a'", "[a]")) + "=3"],
    "a value left open": lambda rng: [f"name={rng.choice(('[', '{', '(', chr(39), chr(34), '${'))}{'a' * 20}"],
    "a function that is none": lambda rng: [f"steps={rng.choice(('nope', 'eval', 'os.system'))}(1)"],
    "a folder of Hydra's": lambda rng: [
        rng.choice(("", "+", "++"))
        + rng.choice(("hydra.run.dir", "hydra.sweep.dir", "hydra/job_logging", "hydra"))
        + "=X"
    ],
    "a long value": lambda rng: [f"hydra.job.name={'x' * 10_000}"],
}


@pytest.fixture
def told(in_tmp_path, capfd):
    """The status of a command line, and its line on the standard error."""

    def run(arguments):
        status = run_command_line(arguments, lambda config: 0.0)
        error = capfd.readouterr().err
        assert list(in_tmp_path.iterdir()) == [], arguments
        assert "Traceback" not in error, arguments
        assert "usage:" not in error, arguments
        assert error.count("\n") == (status == 2), (arguments, error)
        assert len(error) <= 420, (arguments, error)
        assert error.removesuffix("\n").isprintable(), (arguments, error)
        return status, error

    return run


@pytest.mark.parametrize("what", BREAK)
def test_a_line_that_cannot_be_read(what, told):
    rng = random.Random(what)
    for _ in range(30):
        line = list(rng.choice(RIGHT))
        at = rng.choice([k for k in range(len(line) + 1) if line[k - 1 : k] not in (["--cfg"], ["--info"])])
        line[at:at] = BREAK[what](rng)
        assert told(line)[0] == 2, line


COMPOSED = [
    "cell=3", "cell=[1]", "+cell=gru", "+cell={1: 2}", "probes=7", "+probes.foo=1", "+probes.adjoint=null", "log=5",
    "log=[1]", "+log={1: 2}", "seeds={a: 1}", "seeds=1,2,3", "cell=rnn,gru", "steps=${steps}", "name=${oc.env:NO_SUCH}",
    f"name={'x' * 10_000}", f"steps={'9' * 5_000}", f"cell={'x' * 10_000}", f"cell.{'x' * 10_000}=1", "lr=0.1",
    "milestones={}", "cell=/etc/passwd", f"cell._target_={'x' * 10_000}",
    "optimizer.lr=1", "hydra.launcher.jobs=2", "hydra.mode=FOO", "hydra.searchpath=[file:///no/such/folder]",
]  # fmt: skip


@pytest.mark.parametrize("override", COMPOSED, ids=lambda text: text[:30])
def test_a_configuration_that_cannot_be(override, told):
    status, error = told(["+experiment=smoke", override])
    assert status == 2
    if not override.startswith("hydra.searchpath"):
        assert re.split(r"[=.]", override.lstrip("+"))[0] in error.partition(" ")[2][:40]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("lr=0.1", "Did you mean 'optimiser.lr'?"),
        ("hidden=3", "Did you mean 'cell.hidden'?"),
        ("lenght=3", "Did you mean 'task.length'?"),
        ("seed=3", "Did you mean 'seeds'?"),
        ("optimizer=adam", "Did you mean 'optimiser'?"),
        ("optimizer.lr=1", "Did you mean 'optimiser.lr'?"),
        ("cell.hidden_size=1", "Did you mean 'cell.hidden'?"),
        ("seeds=1,2,3", "Add -m for a run with each, or write a list: seeds=[1,2,3]."),
        ("cell=rnn,gru", "Add -m for a run with each."),
    ],
)
def test_the_hint_goes_first(wrong, hint, told):
    assert hint in told([wrong])[1].partition(" has: ")[0]


def test_a_key_that_a_file_has_set_is_told_with_the_file(told):
    """task.length was never typed."""
    status, error = told(["+experiment=quickstart", "task=smnist"])
    assert status == 2
    assert error.startswith("rnnlab: task.length=100: no such key.")
    assert error.endswith("It is set by experiment/quickstart.yaml; ~task.length leaves it out.\n")
    assert told(["+experiment=quickstart", "task=smnist", "~task.length"])[0] == 0
