"""What a comparison compares: sections of one task each, and in them arms, whose labels say what varies. No torch."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from rnnlab.groups import COMPONENTS
from rnnlab.report.outcome import Outcome
from rnnlab.report.reading import Run
from rnnlab.runs.identity import IGNORED

LR = "optimiser.lr"
RECORDING = (*IGNORED, "seeds", "log", "probe", "probes", "milestones")
"""Keys that change no training: where results go, what is recorded, which seeds."""
MANY = 4
"""Keys from which on a label leaves out what is usual."""
LONGEST = 48
"""Characters of a value in a label; the whole value is in the run's configuration."""


@dataclass(frozen=True, eq=False)
class Replica:
    """One seed of one run: the unit of every statistic."""

    run: Run
    outcome: Outcome

    @property
    def budget(self) -> int:
        """Updates it was allowed."""
        return int(self.run.config["steps"])

    @property
    def solved(self) -> bool:
        return self.outcome.steps_to_solve is not None

    @property
    def undecided(self) -> bool:
        return self.outcome.status == "undecided"


@dataclass(eq=False)
class Setting:
    """All seeds of one configuration."""

    config: dict[str, Any]
    replicas: list[Replica]

    @property
    def lr(self) -> float:
        return float(self.config.get(LR, float("nan")))


@dataclass(eq=False)
class Arm:
    """What is compared: a technique at one setting.

    Attributes:
        label: the keys that vary, as the command line writes them.
        setting: the configuration that stands for the technique, with its seeds.
        tried: all settings of the technique; they differ in the learning rate alone.
    """

    label: str
    setting: Setting
    tried: list[Setting]

    @property
    def replicas(self) -> list[Replica]:
        return self.setting.replicas

    @cached_property
    def runs(self) -> list[Run]:
        return list({id(replica.run): replica.run for replica in self.replicas}.values())

    @property
    def partial(self) -> bool:
        """Whether a seed is neither solved nor at its end."""
        return any(replica.undecided for replica in self.replicas)

    @property
    def parameters(self) -> list[int]:
        """Different numbers of trained parameters among the runs; one, but for a component that changed."""
        return sorted({run.parameters for run in self.runs if run.parameters is not None})


@dataclass(eq=False)
class Section:
    """Runs of one task: the only ones that are compared with each other.

    Attributes:
        task: the task's keys and values.
        varied: keys that vary, as in the arms' labels, with their values.
        usual: of many such keys, the value that more than half of the arms have: their labels do not say it.
        tied: keys that differ only as an option's own default or together with it: (key, option) -> value.
        fixed: every other key that all runs share.
        lr_selected: arms stand at a learning rate chosen among several.
        twice: replicas left out, because another run has the same configuration and seed.
    """

    task: dict[str, Any]
    runs: list[Run]
    settings: list[Setting]
    arms: list[Arm] = field(default_factory=list)
    varied: dict[str, list[str]] = field(default_factory=dict)
    usual: dict[str, str] = field(default_factory=dict)
    tied: dict[tuple[str, str], str] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    lr_selected: bool = False
    twice: int = 0

    @property
    def seeds(self) -> int:
        """Seeds of all settings together."""
        return sum(len(setting.replicas) for setting in self.settings)

    def said(self, name: str) -> Any:
        """What the runs say about the task: the first that does, for a partial run may not."""
        return next((value for run in self.runs if (value := getattr(run, name)) not in (None, "")), None)


def sections(runs: Iterable[Run], *, every_lr: bool) -> list[Section]:
    """One section per task, task length and solving rule; the batch size is no part of a task, but varies within.

    The arms are not formed yet where the learning rate is to be chosen: see `form_arms`.
    """
    by_task: dict[str, list[Run]] = {}
    for run in runs:
        by_task.setdefault(repr(sorted(_task(run.config).items(), key=str)), []).append(run)
    found = [_section(of_task) for of_task in by_task.values()]
    for section in found:
        keys = [key for key in section.varied if key != LR]
        techniques = Counter(technique(setting, keys) for setting in section.settings)
        section.lr_selected = bool(keys) and max(techniques.values()) > 1 and LR in section.varied and not every_lr
    return found


def form_arms(section: Section, best: Any) -> None:
    """Arms of a section, in the order of their labels.

    Args:
        best: chooses a setting among several of one technique, list[Setting] -> Setting.
    """
    keys = [key for key in section.varied if not (section.lr_selected and key == LR)]
    techniques: dict[str, list[Setting]] = {}
    for setting in section.settings:
        techniques.setdefault(technique(setting, keys), []).append(setting)
    if len(keys) >= MANY:
        section.usual = _usual([tried[0].config for tried in techniques.values()], keys[1:])
    labels: set[str] = set()
    for _, tried in sorted(techniques.items()):
        tried.sort(key=lambda setting: setting.lr)
        label = _label(tried[0].config, keys, section.usual)
        unique, count = label, 1
        while unique in labels:  # different beyond the characters that a label has
            count += 1
            unique = f"{label} #{count}"
        labels.add(unique)
        section.arms.append(Arm(unique, best(tried) if len(tried) > 1 else tried[0], tried))


def _task(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if (k == "task" or k.startswith("task.")) and k != "task.batch"}


def _section(runs: list[Run]) -> Section:
    replicas, twice = _one_per_seed(runs)
    settings: dict[str, Setting] = {}
    for replica in replicas:
        config = _determining(replica.run.config)
        settings.setdefault(_exact(config), Setting(config, [])).replicas.append(replica)
    for setting in settings.values():
        setting.replicas.sort(key=lambda replica: replica.outcome.seed)
    configs = [setting.config for setting in settings.values()]
    section = Section(_task(runs[0].config), runs, list(settings.values()), twice=twice)
    for key in _ordered({key for config in configs for key in config}):
        _classify(section, key, configs)
    return section


def _classify(section: Section, key: str, configs: Sequence[dict[str, Any]]) -> None:
    """Whether a key varies, differs with an option only, or is fixed; one that only some options have can vary too."""
    parent = key.partition(".")[0]
    group = parent if "." in key and parent in COMPONENTS else None
    by_option: dict[str, set[str]] = {}
    for config in configs:
        if group is None or key in config or len({c.get(group) for c in configs}) == 1:
            option = "" if group is None else text(config.get(group))
            by_option.setdefault(option, set()).add(text(config[key]) if key in config else "(not set)")
    values = set().union(*by_option.values())
    if any(len(of_option) > 1 for of_option in by_option.values()):
        section.varied[key] = sorted(values, key=_natural)
    elif len(values) == 1 and all(key in config for config in configs):
        section.fixed[key] = configs[0][key]
    else:
        section.tied |= {(key, f"{group}={option}"): next(iter(of)) for option, of in by_option.items()}


def _one_per_seed(runs: list[Run]) -> tuple[list[Replica], int]:
    """Of replicas with one configuration and seed the one that got furthest, or the latest; and how many are left."""
    best: dict[tuple[str, int], Replica] = {}
    count = 0
    for run in runs:
        exact = _exact(_determining(run.config))
        for outcome in run.outcomes:
            count += 1
            replica, place = Replica(run, outcome), (exact, outcome.seed)
            if place not in best or _worth(replica) > _worth(best[place]):
                best[place] = replica
    return list(best.values()), count - len(best)


def _worth(replica: Replica) -> tuple[bool, int, str]:
    return not replica.undecided, replica.outcome.steps, str(replica.run.manifest.get("start"))


def _determining(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key.partition(".")[0] not in RECORDING}


def _exact(config: dict[str, Any]) -> str:
    return repr(sorted((key, text(value)) for key, value in config.items()))


def _ordered(keys: set[str]) -> list[str]:
    """Groups first, in the order of the schema, each before its own keys."""
    place = {group: k for k, group in enumerate(COMPONENTS)}
    return sorted(keys, key=lambda key: (place.get(key.partition(".")[0], len(place)), key))


def technique(setting: Setting, keys: Sequence[str]) -> str:
    """A setting's values in full, as far as these keys go: settings of one technique have the same."""
    return " ".join(f"{key}={text(setting.config[key])}" for key in keys if key in setting.config)


def _usual(configs: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, str]:
    """Each key's value in more than half of the configurations that have the key."""
    found = {}
    for key in keys:
        values = [text(config[key]) for config in configs if key in config]
        value, count = Counter(values).most_common(1)[0]
        if 2 * count > len(values):
            found[key] = value
    return found


def _label(config: dict[str, Any], keys: Sequence[str], usual: dict[str, str]) -> str:
    said = [key for key in keys if key in config and usual.get(key) != text(config[key])]
    parts = [f"{key}={shortened(text(config[key]), LONGEST)}" for key in said]
    return " ".join(parts) or "all runs"


def shortened(value: str, most: int) -> str:
    """The first characters of a text that is too long, and how long it is."""
    return value if len(value) <= most else f"{value[:most]}… ({len(value):,} characters)"


def text(value: Any) -> str:
    """A value as YAML and the command line write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ",".join(text(item) for item in value) + "]"
    return str(value)


def _natural(value: str) -> tuple[bool, float, str]:
    """Numbers in their order, before words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
