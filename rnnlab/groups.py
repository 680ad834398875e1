"""The groups of components: where each one's options live, and what a member must be. Imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """One row per group.

    Attributes:
        key: in a configuration. `probes` holds several members, each by a name of its own.
        package: of rnnlab, whose modules hold the group's components, and no other's.
        kinds: what a member is or satisfies: classes and protocols as MODULE.NAME, imported when they are asked for.
        options: the folder of configs/ with its options, where that is not called like the key.
        common: MODULE.NAME of a class whose fields are keys of every member. They are for who uses the members: none of
            them is made with these.
    """

    key: str
    package: str
    kinds: tuple[str, ...]
    options: str = ""
    common: str = ""


_INITIALISER = ("rnnlab.initialisers", ("rnnlab.cells.cell.Initialiser",))
_ROWS = (
    Group("task", "rnnlab.tasks", ("rnnlab.tasks.task.Task",)),
    Group("cell", "rnnlab.cells", ("rnnlab.cells.cell.Cell",)),
    Group("activation", "rnnlab.activations", ("torch.nn.Module", "rnnlab.cells.cell.Activation")),
    Group("initialiser", *_INITIALISER),
    Group("input_initialiser", *_INITIALISER, options="initialiser"),
    Group("output_initialiser", *_INITIALISER, options="initialiser"),
    Group("bias_initialiser", "rnnlab.bias_initialisers", _INITIALISER[1]),
    Group("parametrisation", "rnnlab.parametrisations", ("rnnlab.parametrisations.parametrisation.Parametrisation",)),
    Group("regulariser", "rnnlab.regularisers", ("rnnlab.regularisers.regulariser.Regulariser",)),
    Group("dropout", "rnnlab.dropout", ("rnnlab.dropout.dropout.Dropout",)),
    Group("clipping", "rnnlab.clipping", ("rnnlab.clipping.gradient_step.Clipping",)),
    Group("gradient_noise", "rnnlab.gradient_noise", ("rnnlab.gradient_noise.noise.GradientNoise",)),
    Group("adjoint", "rnnlab.adjoints", ("rnnlab.adjoints.rule.AdjointRule",)),
    Group("optimiser", "rnnlab.optimisers", ("rnnlab.optimisers.optimiser.Optimiser",)),
    Group("schedule", "rnnlab.schedules", ("rnnlab.schedules.schedule.Schedule",)),
    Group(
        "probes",
        "rnnlab.probes",
        ("rnnlab.probes.probe.Probe",),
        options="probe",
        common="rnnlab.probes.timetable.Timetable",
    ),
)
GROUPS = {group.key: group for group in _ROWS}
COMPONENTS = tuple(key for key in GROUPS if key != "probes")
"""Keys of the groups that a run has exactly one member of."""


def group_of(key: str) -> Group:
    """The group of a component's key: `probes.gates` is one of `probes`."""
    return GROUPS[key.partition(".")[0]]
