"""The groups of components, one row each: all that the rest of the code knows of a group. Imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """One row per group.

    Attributes:
        key: in a configuration. `probes` holds several members, each by a name of its own.
        about: what its options are, in a sentence.
        package: of rnnlab, whose modules hold the group's components, and no other's.
        kinds: what a member is or satisfies: classes and protocols as MODULE.NAME, imported when they are asked for.
        options: the folder of configs/ with its options, where that is not called like the key.
        keys: that every member has, a user's own included, since other parts read them.
        neutral: the `_target_` of the option that does nothing. A configuration may do without a group that has one;
            at it, a run is neither named nor identified by the group, so that a new group changes no run's identity.
        named: whether a run's name tells the option.
        chain: OPTION.KEY of the option that holds several others, for GROUP=[one,other].
        stream: number of the random stream that a replica's draws come from; see rnnlab.streams.
        common: MODULE.NAME of a class whose fields are keys of every member. They are for who uses the members: none of
            them is made with these.
    """

    key: str
    about: str
    package: str
    kinds: tuple[str, ...]
    options: str = ""
    keys: tuple[str, ...] = ()
    neutral: str = ""
    named: bool = True
    stream: int | None = None
    chain: str = ""
    common: str = ""


_INITIALISER = ("rnnlab.initialisers", ("rnnlab.cells.cell.Initialiser",))
_ROWS = (
    Group("task", "What is learnt.", "rnnlab.tasks", ("rnnlab.tasks.task.Task",), keys=("batch",)),
    Group("cell", "The recurrent step itself.", "rnnlab.cells", ("rnnlab.cells.cell.Cell",), keys=("hidden",)),
    Group(
        "architecture",
        "How cells are wired.",
        "rnnlab.architectures",
        ("rnnlab.architectures.architecture.Architecture",),
        neutral="rnnlab.architectures.single.Single",
        stream=22,
    ),
    Group(
        "activation",
        "The nonlinearity phi of a cell.",
        "rnnlab.activations",
        ("torch.nn.Module", "rnnlab.cells.cell.Activation"),
    ),
    Group(
        "initialiser",
        "How recurrent weights are drawn, per gate block; others by `input_` and `output_initialiser`.",
        *_INITIALISER,
    ),
    Group("input_initialiser", "How input weights are drawn.", *_INITIALISER, options="initialiser", named=False),
    Group("output_initialiser", "How the readout is drawn.", *_INITIALISER, options="initialiser", named=False),
    Group(
        "bias_initialiser",
        "How biases are drawn, per gate.",
        "rnnlab.bias_initialisers",
        _INITIALISER[1],
        named=False,
    ),
    Group(
        "parametrisation",
        "What recurrent weights are made of, once per training step.",
        "rnnlab.parametrisations",
        ("rnnlab.parametrisations.parametrisation.Parametrisation",),
        neutral="rnnlab.parametrisations.none.NoParametrisation",
    ),
    Group(
        "regulariser",
        "What is added to a replica's loss or gradients.",
        "rnnlab.regularisers",
        ("rnnlab.regularisers.regulariser.Regulariser",),
        neutral="rnnlab.regularisers.none.NoRegulariser",
    ),
    Group(
        "dropout",
        "What is dropped in training, and never in evaluation.",
        "rnnlab.dropout",
        ("rnnlab.dropout.dropout.Dropout",),
        neutral="rnnlab.dropout.none.NoDropout",
        stream=21,
    ),
    Group(
        "clipping",
        "What is done to a replica's parameter gradients after the backward pass.",
        "rnnlab.clipping",
        ("rnnlab.clipping.gradient_step.Clipping",),
        neutral="rnnlab.clipping.none.NoClipping",
        chain="chain.rules",
    ),
    Group(
        "gradient_noise",
        "What is added to the gradients, after clipping.",
        "rnnlab.gradient_noise",
        ("rnnlab.gradient_noise.noise.GradientNoise",),
        neutral="rnnlab.gradient_noise.none.NoNoise",
        stream=9,
    ),
    Group(
        "adjoint",
        "What is done to dL/dh_t inside the backward pass, at every time step.",
        "rnnlab.adjoints",
        ("rnnlab.adjoints.rule.AdjointRule",),
        neutral="rnnlab.adjoints.none.NoRule",
        stream=20,
    ),
    Group(
        "optimiser",
        "How gradients become updates.",
        "rnnlab.optimisers",
        ("rnnlab.optimisers.optimiser.Optimiser",),
    ),
    Group(
        "schedule",
        "What the learning rate is multiplied with.",
        "rnnlab.schedules",
        ("rnnlab.schedules.schedule.Schedule",),
        neutral="rnnlab.schedules.constant.Constant",
        named=False,
    ),
    Group(
        "probes",
        "What is measured at some training steps.",
        "rnnlab.probes",
        ("rnnlab.probes.probe.Probe",),
        options="probe",
        common="rnnlab.timetable.Timetable",
        named=False,
    ),
)
GROUPS = {group.key: group for group in _ROWS}
COMPONENTS = tuple(key for key in GROUPS if key != "probes")
"""Keys of the groups that a run has exactly one member of."""
NEUTRAL = {group.key: {"_target_": group.neutral} for group in _ROWS if group.neutral}
"""What a configuration is where it does without a group."""


def group_of(key: str) -> Group:
    """The group of a component's key: `probes.gates` is one of `probes`."""
    return GROUPS[key.partition(".")[0]]


def option_name(target: str) -> str:
    """The name of an option: `lstm` for rnnlab.cells.lstm.LSTM."""
    return target.split(".")[-2]
