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
        ("seeds=1,2,3", "Add -m for a run with each. Or write a list: seeds=[1,2,3]."),
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


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("-m cell=rnn,gru cell.hiden=3", "Did you mean 'hidden'? cell has: hidden"),
        ("-m activation=tanh,relu optimiser.learning_rat=3", "optimiser has: lr, beta1, "),
        ("-m cell=cornn,lem cell.dt=0.1", "With cell=cornn,lem, write ++cell.dt=0.1 "),
        ("-m cell=rnn,gru log.evry=3", "Did you mean 'every'? log has: every."),
        ("cell=gru cell={a:1}", "cell={a:1}: no such key. cell has: hidden."),
        ("cell=gru ~cell.hiden", "~cell.hiden: no such key. Did you mean 'hidden'? cell has: hidden."),
        ("-m hydra.sweeper.arm=[]", "Did you mean 'arms'? hydra.sweeper has: max_batch_size, params, arms, "),
        ("-m hydra/sweeper=optuna hydra.sweeper.trial=3", "hydra.sweeper has: trials, at_once, seed, params."),
        ("-m cell=rnn,gru +hydra.launcher.foo=1", "+hydra.launcher.foo=1: no such key."),
        ("probes.gates.every=3", "no such probe in this run. Add it with +probe@probes.gates=gates, or probes=full."),
        ("probes=full probes.gates.evry=3", "Did you mean 'every'? probes.gates has: every, first, per_decade"),
    ],
)
def test_a_key_that_does_not_exist_is_told_with_those_that_do(line, keys, told):
    status, error = told(line.split())
    assert status == 2
    assert keys in error


def test_the_keys_of_a_launcher_are_told(capfd):
    assert run_command_line(["-m", "cell=rnn,gru", "hydra.launcher.job=2"]) == 2
    assert capfd.readouterr().err.endswith("Did you mean 'jobs'? hydra.launcher has: jobs.\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("steps=20 steps=${nothing:1}", "steps=${nothing:1}: not allowed. "),
        ("cell.hidden=8 cell.hidden=${cell.hidden}", "cell.hidden=${cell.hidden}: not allowed. Recursive"),
        ("cell=rnn cell.hidden=8 ~cell", "~cell: not allowed. Choose an option of the group: cell=OPTION."),
        ("~cell cell.hidden=8 cell=rnn", "~cell: not allowed. Choose an option of the group: cell=OPTION."),
        ("~optimiser", "optimiser: missing. Choose an option of the group: optimiser=OPTION."),
        ("~steps", "steps: missing. Give it a value: steps=VALUE."),
        ("~log", "log.every: missing. Give it a value: log.every=VALUE."),
        ("++cell=gru", "++cell=gru: not allowed. Write cell=OPTION, which replaces one."),
        ("+cell=gru", "+cell=gru: not allowed. Write cell=OPTION, which replaces one."),
        ("++experiment=smoke", "++experiment=smoke: not allowed. Write +experiment=OPTION."),
        ("++probe@probes.a=gates", "++probe@probes.a=gates: not allowed. Write +probe@probes.a=OPTION."),
        ("+experiment=smoke +experiment=copy", "+experiment=copy: not allowed. experiment is given already; "),
        ("cell=[rnn,gru]", "cell=[rnn,gru]: not allowed. A run has one option of the group; each: -m cell=rnn,gru."),
        ("hydra.searchpath=[nope]", "hydra.searchpath=[nope]: not allowed. "),
        (
            "seeds=range(3)",
            "seeds=range(3): several values. Add -m for a run with each. Or write a list: seeds=[0,1,2].",
        ),
        ("seeds=[range(3)]", "seeds=[range(3)]: not allowed. Within a list or a mapping, write every value out."),
        ("-m milestones={a:[choice(1,2)]}", "milestones={a:[choice(1,2)]}: not allowed. Within a list or a mapping, "),
        (f"cell.hidden={'9' * 100_000}", "cell.hidden=999"),
        ("-sc", "--shell-completion: write --shell-completion install=bash. "),
        ("-sc install=nope", "--shell-completion: write --shell-completion install=bash. "),
        ("--run -m", "--run --multirun: not allowed together. "),
        ("-m --cfg job", "--multirun --cfg: not allowed together. "),
        ("--resolve", "--resolve: not allowed. "),
        ("--config-dir=~/no/such", "--config-dir=~/no/such: no such folder."),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_to_blame_is_told_first(line, message, told):
    """Of a key that is given twice, the last: it counts."""
    status, error = told(line.split())
    assert status == 2
    assert error.startswith(f"rnnlab: {message}")
    assert "large." in error or "999" not in error


@pytest.mark.parametrize("line", ["seeds=[0,1,2]", "cell=gru", "+experiment=smoke", "+experiment=[smoke,copy]"])
def test_what_is_advised_is_accepted(line, told):
    assert told([line])[0] == 0
