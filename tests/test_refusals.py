"""What does not go together is refused, by the key that is to be changed; and what needs no torch, without it."""

import pytest
from support import composed

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.schema import validate

SMALL = ["task=adding", "task.length=6", "cell=rnn", "cell.hidden=4", "seeds=1"]
AT_ONCE = {
    "milestones": [["milestones=[0.1,0.5,0.1]"]],
    "cell.hidden": [["cell.hidden=1", "seeds=2"]],
    "threads": [[f"engine={engine}", "threads=2"] for engine in ("autograd", "scan")],
    "recompute": [["recompute=1"], *([f"engine={engine}", "recompute=2"] for engine in ("autograd", "scan"))],
    "precision": [["engine=autograd", "precision=tf32"], ["precision=bf16", "dtype=float64"]],
    "regulariser": [
        *(
            [f"parametrisation={parametrisation}", f"regulariser={regulariser}"]
            for parametrisation in ("exponential", "cayley", "householder")
            for regulariser in ("l2", "orthogonality")
        ),
        *(["regulariser=omega", f"dropout={dropout}"] for dropout in ("variational", "non_recurrent", "zoneout")),
    ],
    "clipping": [[f"clipping={rule}", "parametrisation=weight_norm"] for rule in ("agc", "pascanu")],
    "optimiser": [["optimiser=muon", f"parametrisation={option}"] for option in ("weight_norm", "cayley")],
    "input_initialiser": [
        [f"initialiser@input_initialiser={option}"]
        for option in ("identity", "henaff", "cayley", "nearly_identity", "spectral_radius")
    ],
    "output_initialiser": [
        [f"initialiser@output_initialiser={option}"]
        for option in ("identity", "henaff", "cayley", "nearly_identity", "spectral_radius")
    ],
    "initialiser.nonzeros": [["initialiser=spectral_radius", "initialiser.nonzeros=5"]],
    "bias_initialiser": [["bias_initialiser=chrono"]],
    "bias_initialiser.t_max": [
        ["cell=lstm", "bias_initialiser=chrono", "bias_initialiser.t_max=2"],
        ["cell=lstm", "bias_initialiser=chrono", "task.length=2"],
    ],
    "schedule.warmup": [["schedule=warmup_cosine", "schedule.warmup=20", "steps=20"]],
    "optimiser.nesterov": [
        ["optimiser=momentum", "optimiser.nesterov=true", "optimiser.momentum=0"],
        ["optimiser=momentum", "optimiser.nesterov=true", "optimiser.dampening=0.5"],
    ],
    "task.length": [["task.length=1"]],
    "task.shortest": [["task.shortest=6"], ["task.shortest=1"], ["task=copy", "task.length=4", "task.shortest=4"]],
    "task.examples": [["task.examples=2", "task.batch=3"]],
    "task.alphabet": [["task=copy", "task.alphabet=1"], ["task=copy", "task.alphabet=257"]],
    "adjoint": [["adjoint=h_detach", "cell=lstm", "dropout=zoneout"], ["adjoint=h_detach", "cell=gru"]],
    "adjoint.every": [
        *([f"adjoint={rule}", "adjoint.every=6"] for rule in ("truncate", "truncate_random")),
        ["adjoint=truncate", "task=smnist", "task.source=digits", "adjoint.every=64"],
    ],
    "probes.gates": [["+probe@probes.gates=gates", *(f"probes.gates.{k}=0" for k in ("every", "first", "per_decade"))]],
}
"""By the key that is named: told before torch is imported."""
WITH_THE_NET = {
    "regulariser": [
        ["regulariser=l2", "cell=mingru"],
        ["regulariser=l2", "cell=lru"],
        ["regulariser=orthogonality", "cell=indrnn"],
        ["regulariser=orthogonality", "cell=antisymmetric"],
        ["regulariser=omega", "cell=lstm"],
    ],
    "clipping": [
        *(["clipping=agc", f"cell={cell}"] for cell in ("lru", "antisymmetric")),
        ["clipping=pascanu", "cell=lru"],
    ],
    "optimiser": [
        *(["optimiser=muon", f"cell={cell}"] for cell in ("mingru", "indrnn", "lru")),
        ["optimiser=muon", "cell.hidden=1"],
    ],
    "optimiser.recurrent_lr_factor": [["cell=mingru", "optimiser.recurrent_lr_factor=0.5"]],
    "initialiser": [[f"initialiser={option}", "cell=antisymmetric"] for option in ("identity", "nearly_identity")],
    "parametrisation": [
        *([f"parametrisation={option}", "cell=antisymmetric"] for option in ("cayley", "antisymmetric")),
        ["parametrisation=cayley", "cell=lru"],
        ["parametrisation=bounded", "cell=rnn"],
        ["parametrisation=weight_norm", "cell=mingru"],
    ],
    "dropout": [
        *(
            [f"dropout={option}", f"cell={cell}"]
            for option in ("variational", "candidate")
            for cell in ("cornn", "lem")
        ),
        ["dropout=candidate", "cell=leaky"],
    ],
    "recompute": [["recompute=6"]],
    "probes.gates": [["+probe@probes.gates=gates"]],
    "match_parameters": [["match_parameters=1"]],
    "cell": [[f"cell={cell}", "cell.hidden=1"] for cell in ("rnn_layernorm", "lstm_layernorm", "gru_layernorm")],
}
"""Told once the cell and the task are made, without numbers."""


def each(table: dict[str, list[list[str]]]) -> list[tuple[str, list[str]]]:
    return [(key, settings) for key, several in table.items() for settings in several]


def refused(key: str, settings: list[str], *, at_once: bool) -> None:
    raw = composed(*(SMALL if "task=smnist" not in settings else SMALL[2:]), *settings)
    if at_once:
        with pytest.raises(ConfigError) as error:
            validate(raw)
    else:
        config = validate(raw)
        with pytest.raises(ConfigError) as error:
            build(config)
    message = str(error.value)
    assert message.startswith((f"{key}=", f"{key}:")), message
    assert "\n" not in message
    assert "not allowed" in message or key == "cell"


@pytest.mark.parametrize(("key", "settings"), each(AT_ONCE), ids=str)
def test_what_needs_no_torch(key: str, settings: list[str]) -> None:
    refused(key, settings, at_once=True)


@pytest.mark.parametrize(("key", "settings"), each(WITH_THE_NET), ids=str)
def test_what_the_net_shows(key: str, settings: list[str]) -> None:
    refused(key, settings, at_once=False)


SENSIBLE = [
    ["regulariser=l2", "cell=indrnn"],
    ["regulariser=l2", "cell=antisymmetric"],
    ["clipping=agc", "cell=mingru"],
    ["clipping=pascanu", "cell=antisymmetric"],
    ["optimiser=muon", "cell=antisymmetric"],
    *(
        [f"{choice}", f"cell={cell}"]
        for cell in ("second_order", "cascaded")
        for choice in ("optimiser=muon", "regulariser=orthogonality")
    ),
    ["initialiser=identity", "cell=lstm"],
    ["initialiser=nearly_identity", "cell=mingru"],
    ["regulariser=l2", "parametrisation=weight_norm"],
]


@pytest.mark.parametrize("settings", SENSIBLE, ids=str)
def test_what_makes_sense_is_built(settings: list[str]) -> None:
    build(validate(composed(*SMALL, *settings)))


@pytest.mark.parametrize("cell", ["lstm_layernorm", "gru_layernorm"])
def test_it_is_said_that_of_a_single_input_only_the_sign_is_left(cell: str) -> None:
    said: list[str] = []
    build(validate(composed(f"cell={cell}", "task=copy", "task.input=scalar")), say=said.append)
    assert any(text.startswith(f"cell={cell} normalises x_t U") for text in said)
