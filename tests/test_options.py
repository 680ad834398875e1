"""The command line taken apart: options anywhere, overrides as they were written, what is wrong in one line."""

import itertools
import random

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from rnnlab.contract import ConfigError
from rnnlab.options import take_apart
from rnnlab.overrides import check_overrides, quoted, spelled_out


def refusal(*arguments):
    with pytest.raises(ConfigError) as refused:
        take_apart(list(arguments))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    return str(refused.value)


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (["-m"], {"--multirun": None}),
        (["--config-dir", "my configs"], {"--config-dir": "my configs"}),
        (["-cd=my=configs"], {"--config-dir": "my=configs"}),
        (["--cfg", "job"], {"--cfg": "job"}),
        (["-i", "all"], {"--info": "all"}),
        (["--info", "defaults-tree"], {"--info": "defaults-tree"}),
    ],
)
def test_options_may_stand_anywhere(options, taken):
    overrides = ["+experiment=smoke", "cell=lstm,gru", "name=a b"]
    for at in range(len(overrides) + 1):
        line = take_apart([*overrides[:at], *options, *overrides[at:]])
        assert (line.options, line.overrides) == (taken, overrides)


def test_hydra_reads_what_we_hand_it_as_it_was_meant():
    pieces = [["-m"], ["--config-dir", "a b"], ["cell=gru"], ["--package=cell"], ["--info"], ["-c", "job"], ["~x"]]
    for order in itertools.islice(itertools.permutations(pieces), 0, None, 97):
        line = take_apart(list(itertools.chain(*order)))
        read = get_args_parser().parse_args(line.arguments(["hydra.run.dir=."]))
        assert (read.multirun, read.config_dir, read.cfg, read.package, read.info) == (
            True,
            "a b",
            "job",
            "cell",
            "all",
        )
        assert read.overrides == ["hydra.run.dir=.", *line.overrides]
        assert sorted(line.overrides) == ["cell=gru", "~x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "--nope: no such option. Options: --help, "),
        (["-x"], "-x: no such option."),
        (["--multi"], "--multi: no such option. Did you mean --multirun?"),
        (["--exp", "smoke"], "--exp: no such option. Did you mean +experiment=smoke?"),
        (["--experiment", "smoke"], "--experiment: no such option. Did you mean +experiment=smoke?"),
        (["--experiment=smoke"], "--experiment=smoke: no such option. Did you mean +experiment=smoke?"),
        (["--experimental-rerun", "a"], "--experimental-rerun: no such option."),
        (["--cell.hidden", "3"], "--cell.hidden: no such option. Did you mean cell.hidden=3?"),
        (["--lr=3"], "--lr=3: no such option. Did you mean 'optimiser.lr'?"),
        (["--cfg"], "--cfg: not allowed. --cfg takes one of: job, hydra, all."),
        (["--cfg", "nope"], "--cfg nope: not allowed."),
        (["--info", "nope"], "--info nope: not allowed."),
        (["--config-dir"], "--config-dir: needs a value."),
        (["--config-dir="], "--config-dir: needs a value."),
        (["-cd", "-m"], "-cd: needs a value."),
        (["-m=yes"], "-m=yes: not allowed."),
        (["--cfg", "job", "-c", "all"], "-c all: not allowed. --cfg is given already: job."),
        (["--package", "cell"], "--package cell: not allowed. It goes with --cfg."),
        (["--" + "x" * 9999], "--xxx"),
        (["--a\nb"], "--a\\nb: no such option."),
    ],
)
def test_what_is_wrong_is_told_with_the_hint_first(arguments, message):
    assert refusal("cell=gru", *arguments).startswith(message)


def test_every_option_of_hydras_but_one_is_taken():
    for action in get_args_parser()._actions:
        for spelling in action.option_strings:
            given = [] if action.nargs in (0, "?") else [next(iter(action.choices or ["x"]))]
            if action.dest == "experimental_rerun":
                refusal(spelling, *given)
            elif action.dest != "package":
                assert action.option_strings[0] in take_apart([spelling, *given]).options


@pytest.mark.parametrize("text", ["foo", "", "+", "~", "=3", "+=3", "1=2", "a b=3", "a='", "a=[1", "a=b=c", "a=f(1"])
def test_what_is_no_override_is_refused(text):
    with pytest.raises(ConfigError, match=r"not allowed\. Write KEY=VALUE|cannot be read\. \S") as refused:
        check_overrides(["cell=gru", text])
    assert "\n" not in str(refused.value)


OF_HYDRA = [
    "run.dir=X", "sweep.dir=X", "sweep.subdir=X", "output_subdir=X", "job.chdir=true", "job.name=X", "verbose=true",
    "callbacks.a._target_=os.system", "job.env_set={A: b}", "run={dir: X}", "help.header=X",
]  # fmt: skip


@pytest.mark.parametrize("sign", ["", "+", "++", "~"])
def test_keys_of_hydras_own_that_move_nothing_are_refused(sign):
    spellings = [f"hydra.{key}" for key in OF_HYDRA] + ["hydra/job_logging=none", "hydra/output=x", "hydra={a: 1}"]
    for text in [*spellings, "cell@hydra.run=gru", "hydra"]:
        with pytest.raises(ConfigError, match=r"runs/NAME/RUN_ID|Write KEY=VALUE"):
            check_overrides([sign + text])
    check_overrides(["hydra/launcher=ray", "+hydra.launcher.x=1", "hydra.sweeper.arms=[]", "hydra.mode=MULTIRUN"])
    check_overrides(["hydra.searchpath=[a]", "hydraulics=3", *spelled_out(["ray_address=auto"])])


def test_any_text_can_be_quoted():
    """Hydra's grammar and OmegaConf's interpolation give back what was quoted, alone and in a list."""
    rng, parser = random.Random(0), OverridesParser.create()
    letters = [
        "\\",
        "'",
        '"',
        "$",
        "{",
        "}",
        "${",
        "a",
        "é",
        " ",
        "=",
        ",",
        "[",
        "]",
        "(",
        "#",
        "%",
        "~",
        "\t",
        "\n",
        ":",
    ]
    for _ in range(400):
        text = "".join(rng.choices(letters, k=rng.randrange(9)))
        alone = parser.parse_override(f"k={quoted(text)}").value()
        listed = parser.parse_override(f"k=[{quoted(text)},{quoted('b')}]").value()
        read = OmegaConf.to_container(OmegaConf.create({"alone": alone, "listed": listed}), resolve=True)
        assert read == {"alone": text, "listed": [text, "b"]}
