"""How a cell's parameters start: block by block, replica by replica, one bias vector."""

import pytest
import torch
from support import CELLS, composed, drawn_cell, options
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.make import parameter_count
from rnnlab.schema import validate

H = 6


def serves_any_shape(initialiser: str) -> bool:
    try:
        validate(composed(f"initialiser@input_initialiser={initialiser}"))
    except ConfigError:
        return False
    return True


def built(*overrides: str, seeds: tuple[int, ...] = (0, 1, 2)) -> Model:
    config = validate(composed("task.length=5", f"cell.hidden={H}", "dtype=float64", *overrides))
    return build(config).model(list(seeds))


def blocks(model: Model, parameter: Tensor) -> dict[str, Tensor]:
    return {name: model.cell.block(parameter, name).detach() for name in model.cell.blocks}


@pytest.mark.parametrize("option", [o for o in CELLS if drawn_cell(o).square and not drawn_cell(o).absent])
def test_every_gate_block_of_every_replica_is_orthogonal(option: str) -> None:
    model = built(f"cell={option}", "initialiser.gain=1.3")
    identity = torch.eye(H, dtype=torch.float64).expand(3, H, H)
    seen = []
    for block in blocks(model, model.cell.weight_recurrent).values():
        torch.testing.assert_close(block.mT @ block, 1.3**2 * identity)
        seen.extend(block.unbind(0))
    assert all(not torch.equal(a, b) for k, a in enumerate(seen) for b in seen[:k]), "each has a draw of its own"


@pytest.mark.parametrize("drawn", [o for o in options("bias_initialiser") if o != "chrono"])
def test_the_forget_bias_is_added_once(drawn: str) -> None:
    shifted, plain = (
        built("cell=lstm", f"bias_initialiser={drawn}", f"cell.forget_bias={shift}") for shift in (1.5, 0.0)
    )
    for name, block in blocks(shifted, shifted.cell.bias).items():
        start = blocks(plain, plain.cell.bias)[name]
        assert torch.equal(block, start + 1.5 if name == "forget" else start)
        assert (start == 0).all() == (drawn == "zeros")
    for (name, a), b in zip(shifted.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b) == (name != "cell.bias"), name


@pytest.mark.parametrize(("option", "gates", "more"), [("rnn", 1, 0), ("lstm", 4, 0), ("gru", 3, H)])
def test_there_is_one_bias_vector(option: str, gates: int, more: int) -> None:
    """torch.nn adds two; only the GRU needs a second one, inside its reset gate's product."""
    model = built(f"cell={option}")
    inputs = 2
    assert parameter_count(model.cell, replicas=3) == gates * H * (inputs + H + 1) + more
    names = {name for name, _ in model.cell.named_parameters() if "bias" in name}
    assert names == ({"bias", "bias_candidate_recurrent"} if option == "gru" else {"bias"})


@pytest.mark.parametrize("option", CELLS)
def test_an_initialiser_sees_weights_as_out_by_in(option: str) -> None:
    """Kaiming's variance is gain^2 / fan_in: fan_in is I for the input weights and H for the readout."""
    model = built(
        f"cell={option}", "cell.hidden=300", "seeds=1", "initialiser@input_initialiser=kaiming",
        "initialiser@output_initialiser=kaiming", "input_initialiser.gain=1", "output_initialiser.gain=1",
        "task=copy", "task.length=5", seeds=(0,),
    )  # fmt: skip
    owner = model.cell if model.predicts else model
    heard = 300 if model.predicts else model.cell.width
    readout = [(owner.weight_output, heard)] if hasattr(owner, "weight_output") else []
    for weight, fan_in in ((model.cell.weight_input, 10), *readout):
        assert weight.shape[1] == fan_in
        assert weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05)


START_AS_CONSTANTS = ("gain", "bias_candidate_recurrent", "bias_cell", "bias_boundary", "bias_transition")


@pytest.mark.parametrize(
    ("option", "initialiser"),
    [*((c, "xavier") for c in CELLS), *(("lstm", o) for o in options("initialiser") if o != "xavier")],
)
def test_a_replica_starts_as_it_would_alone(option: str, initialiser: str) -> None:
    elsewhere = initialiser if serves_any_shape(initialiser) else "xavier"
    overrides = (
        f"cell={option}", "activation=modrelu", f"initialiser={initialiser}", "bias_initialiser=uniform",
        f"initialiser@input_initialiser={elsewhere}", f"initialiser@output_initialiser={elsewhere}",
    )  # fmt: skip
    together, alone = built(*overrides, seeds=(7, 3, 11)), built(*overrides, seeds=(3,))
    for (name, a), b in zip(together.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(a[1], b[0]), name
    still = START_AS_CONSTANTS + (("weight_recurrent",) if initialiser == "identity" else ())
    for name, a in together.named_parameters():
        constant = name.removeprefix("cell.").startswith(still)
        assert torch.equal(a[0], a[1]) == constant, f"another seed draws other numbers for {name}"


CHRONO = ("bias_initialiser=chrono", "cell.hidden=3000", "initialiser=uniform", "bias_initialiser.t_max=200")


@pytest.mark.technique("bias_initialiser=chrono")
@pytest.mark.parametrize(("option", "kept", "admitted"), [("lstm", "forget", "input"), ("gru", "update", None)])
def test_chrono_spreads_the_units_memories_from_one_step_to_t_max(option: str, kept: str, admitted: str | None) -> None:
    model = built(f"cell={option}", *CHRONO, seeds=(0, 1))
    bias = blocks(model, model.cell.bias)
    steps = 1 / torch.sigmoid(-bias[kept])  # 1 / (1 - gate) = u + 1
    assert 2 <= steps.min().item() < 3
    assert 199 < steps.max().item() <= 200
    assert steps.mean().item() == pytest.approx(101, rel=0.03)
    assert not torch.equal(bias[kept][0], bias[kept][1])
    for name, block in bias.items():
        if name == admitted:
            assert torch.equal(block, -bias[kept])
        elif name != kept:
            assert (block == 0).all()
    assert (model.bias_output == 0).all()


def test_chrono_takes_t_max_from_the_task_and_a_replica_starts_as_alone() -> None:
    given, taken = built("bias_initialiser=chrono", "bias_initialiser.t_max=5"), built("bias_initialiser=chrono")
    assert torch.equal(given.cell.bias, taken.cell.bias)
    longer = built("bias_initialiser=chrono", "task.length=50")
    assert longer.cell.bias.abs().max() > taken.cell.bias.abs().max()
    assert torch.equal(built("bias_initialiser=chrono", seeds=(1,)).cell.bias[0], taken.cell.bias[1])


def test_with_chrono_no_forget_bias_is_added_and_that_is_said() -> None:
    said: list[str] = []
    config = validate(composed("bias_initialiser=chrono", "cell.forget_bias=2"))
    experiment = build(config, say=said.append)
    assert experiment.config.components["cell"]["forget_bias"] == 0
    assert "bias_initialiser=chrono sets cell.forget_bias=0 in place of 2." in said
    assert experiment.config == build(validate(composed("bias_initialiser=chrono", "cell.forget_bias=0"))).config


def test_more_connections_than_units_are_refused_whoever_chose_the_size() -> None:
    sparse = ("initialiser=spectral_radius", "initialiser.nonzeros=20", "match_parameters=300")
    with pytest.raises(ConfigError, match=r"^initialiser\.nonzeros=20: not allowed\..*cell\.hidden=7 "):
        built(*sparse, seeds=(0,))


@pytest.mark.parametrize(("overrides", "reason"), [(["cell=rnn"], "cell=rnn"), (["task.length=2"], "2 steps")])
def test_chrono_is_refused_where_it_says_nothing(overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"^bias_initialiser\S*=\w+: not allowed.*{reason}"):
        built("bias_initialiser=chrono", *overrides)


def test_initialisation_neither_reads_nor_moves_the_ambient_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = built("cell=lstm", "activation=modrelu")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = built("cell=lstm", "activation=modrelu")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
