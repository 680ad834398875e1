"""The encoder-decoder against its equations, torch.nn's cells, torch's attention, and a search of all answers.

T source step, K decoder step, R replica, B batch, I input, H hidden, O output.
"""

import itertools
import math

import pytest
import torch
from helpers import rnnlab
from moments import moment
from support import component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor
from torch.nn import functional

from rnnlab.architectures.architecture import Sizes
from rnnlab.architectures.attention import Attention
from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine, autograd_engine, scan_engine
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.passage import Passage, Update, adjoint_norms
from rnnlab.cells import torch_nn
from rnnlab.cells.cell import Cell
from rnnlab.tasks.task import Batch

T, K, R, B, I, H, O = 6, 4, 2, 3, 3, 4, 3
ENGINES = {
    "autograd": autograd_engine("tests"),
    "fused": Engine("fused", "tests", 1, fused_unroll),
    "scan": scan_engine("tests"),
}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
SCORES = ("dot", "general", "additive")
each_kind = pytest.mark.parametrize("attention", ["none", *SCORES])
each_source = pytest.mark.parametrize("source", ["forward", "reversed"])


def net(cell: str = "lstm", *, replicas: int = R, outputs: int = O, bound: float = 0.7, **changes: object) -> Model:
    """With every parameter drawn; whose replica 0 is that of fewer replicas."""
    made: list[Cell] = []

    def draw(inputs: int) -> Cell:
        made.append(drawn_cell(cell, replicas=replicas, inputs=inputs, hidden=H, seed=len(made), bound=bound))
        return made[-1]

    sizes = Sizes(replicas=replicas, inputs=I, outputs=outputs, hidden=H)
    model = Model(component("architecture", "encoder_decoder", **changes), draw, sizes).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(model.named_parameters()):
            if not name.startswith(("encoder", "decoder")):
                parameter.copy_(uniform(*parameter.shape, seed=300 + k, bound=2))
    return model


def classes(*shape: int, seed: int = 5) -> Tensor:
    return (uniform(*shape, seed=seed) * O).abs().long()


def one_hot(said: Tensor) -> Tensor:
    return functional.one_hot(said, O).double()


def run(model: Model, inputs: Tensor, **options: object) -> Tensor:
    """(K, R, B, O): predictions."""
    passage = Passage(options.pop("engine", ENGINES["autograd"]), **{"scored": K, **options})
    return model.architecture.run(model.parts, inputs, passage)


def gradients(model: Model, prediction: Tensor, *others: Tensor) -> list[Tensor]:
    """Along a random cotangent, of all parameters and of these."""
    cotangent = uniform(*prediction.shape, seed=9)
    leaves = [*model.parameters(), *others]
    return list(torch.autograd.grad((prediction * cotangent).sum(), leaves, allow_unused=True, materialize_grads=True))


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def by_its_equations(model: Model, inputs: Tensor, target: Tensor | None, mask: Tensor | None = None) -> Tensor:
    """Example by example, step by step; the target is heard, or what is said where there is none."""
    architecture, parts, whole = model.architecture, model.parts, []
    for r, b in itertools.product(range(R), range(B)):

        def step(name: str, x: Tensor, state: tuple, r: int = r) -> tuple:
            outer = x.new_zeros(R, 1, len(x)).index_copy(0, torch.tensor([r]), x.view(1, 1, -1))
            full = tuple(s.new_zeros(R, 1, H).index_copy(0, torch.tensor([r]), s.view(1, 1, -1)) for s in state)
            return tuple(s[r, 0] for s in parts[name].step(outer, full)[1])

        x = inputs[:, r, b] if mask is None else inputs[mask[:, r, b], r, b]
        state, h = tuple(x.new_zeros(H) for _ in parts["encoder"].states), []
        for x_i in x.flip(0) if architecture.source == "reversed" else x:
            state = step("encoder", x_i, state)
            h.append(state[0])
        said, told = [], torch.tensor([0.0] * O + [1.0], dtype=torch.float64)
        for j in range(K):
            state = step("decoder", told, state)
            seen = attended(parts["attention"], r, state[0], torch.stack(h)) if "attention" in parts else state[0]
            said.append(seen @ parts["output"].weight_output[r] + parts["output"].bias_output[r, 0])
            heard = one_hot(said[-1].argmax()) if target is None else target[j, r, b]
            told = torch.cat([heard, heard.new_zeros(1)])
        whole.append(torch.stack(said))
    return torch.stack(whole).view(R, B, K, O).permute(2, 0, 1, 3)


def attended(of: Attention, r: int, s: Tensor, h_TH: Tensor) -> Tensor:
    if of.score == "dot":
        score = [s @ h for h in h_TH]
    elif of.score == "general":
        score = [s @ of.weight_query[r] @ h for h in h_TH]
    else:
        score = [torch.tanh(s @ of.weight_query[r] + h @ of.weight_key[r]) @ of.weight_score[r, :, 0] for h in h_TH]
    alpha = torch.stack(score).exp() / torch.stack(score).exp().sum()
    return torch.tanh(torch.cat([alpha @ h_TH, s]) @ of.weight_combine[r])


@pytest.mark.technique("architecture=encoder_decoder")
@each_kind
@each_source
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
def test_values_and_gradients_are_those_of_its_equations(attention: str, source: str, masked: bool) -> None:
    """So attention is to the encoder's outputs, never to padding, and no state of padding starts the decoder."""
    model, inputs = net(attention=attention, source=source), uniform(T, R, B, I, seed=1).requires_grad_()
    mask, target = right_aligned_mask(T, R, B) if masked else None, one_hot(classes(K, R, B))
    for told in (target, None):
        padded = inputs if mask is None else torch.where(mask.unsqueeze(-1), inputs, 1e3)
        ours = run(model, padded, mask_TRB=mask, target_KRBO=told)
        theirs = by_its_equations(model, inputs, told, mask)
        torch.testing.assert_close(ours, theirs, **CLOSE)
        assert_same(gradients(model, ours, inputs), gradients(model, theirs, inputs))


@each_source
@pytest.mark.parametrize("engine", ["autograd", "fused"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_without_attention_it_is_two_of_torch_s_cells(cell: str, engine: str, source: str) -> None:
    model, inputs = net(cell, source=source), uniform(T, R, B, I, seed=1).requires_grad_()
    target = one_hot(classes(K, R, B))
    ours = run(model, inputs, target_KRBO=target, engine=ENGINES[engine])
    found = gradients(model, ours, inputs)
    of_parameter = dict(zip([name for name, _ in model.named_parameters()], found, strict=False))
    cotangent = uniform(K, R, B, O, seed=9)
    for r in range(R):
        given = inputs[:, r].detach().requires_grad_()
        modules = {}
        for name in ("encoder", "decoder"):
            modules[name] = torch_nn.twin(model.cells[name])
            torch_nn.fill(modules[name], "_l0", model.cells[name], r)
        _, state = modules["encoder"](given.flip(0) if source == "reversed" else given)
        told = torch.zeros(K, B, O + 1, dtype=torch.float64)
        told[0, :, O], told[1:, :, :O] = 1, target[:-1, r]
        output, _ = modules["decoder"](told, state)
        theirs = (
            output @ model.parts["output"].weight_output[r].detach() + model.parts["output"].bias_output[r].detach()
        )
        torch.testing.assert_close(ours[:, r], theirs, **CLOSE)
        (theirs * cotangent[:, r]).sum().backward()
        torch.testing.assert_close(found[-1][:, r], given.grad, **CLOSE)
        for name, module in modules.items():
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.copy_(parameter.grad)
            into = drawn_cell(cell, replicas=1, inputs=module.input_size, hidden=H)
            torch_nn.load_torch(into, 0, module, "_l0")
            for leaf in ("weight_input", "weight_recurrent"):
                torch.testing.assert_close(of_parameter[f"{name}.{leaf}"][r], getattr(into, leaf)[0].detach(), **CLOSE)


# Attention.


def attention(score: str, **zero: bool) -> Attention:
    made = Attention(replicas=R, width=H, score=score).double()
    with torch.no_grad():
        for k, (name, parameter) in enumerate(made.named_parameters()):
            if name not in zero:
                parameter.copy_(uniform(*parameter.shape, seed=k))
    return made


STATE, SOURCE = uniform(K, R, B, H, seed=11), uniform(T, R, B, H, seed=12)


def context(of: Attention, state: Tensor, source: Tensor, mask: Tensor | None = None) -> Tensor:
    """c, (K, R, B, H): the argument of tanh where W is [1; 0]."""
    with torch.no_grad():
        of.weight_combine.copy_(torch.eye(2 * H, H, dtype=torch.float64).expand(R, -1, -1))
    return of(state, source, mask).atanh()


@pytest.mark.parametrize("score", SCORES)
def test_constant_scores_give_the_mean_of_the_states(score: str) -> None:
    of = attention(score, weight_score=True) if score == "additive" else attention(score)
    state = STATE if score == "additive" else torch.zeros_like(STATE)
    assert (of.weights(state, SOURCE, None) == of.weights(state, SOURCE, None)[0, 0, 0, 0]).all()
    torch.testing.assert_close(context(of, state, SOURCE), SOURCE.mean(0).expand(K, R, B, H), **CLOSE)
    mask = right_aligned_mask(T, R, B)
    expected = (SOURCE * mask.unsqueeze(-1)).sum(0) / mask.sum(0).unsqueeze(-1)
    torch.testing.assert_close(context(of, state, SOURCE, mask), expected.expand(K, R, B, H), **CLOSE)


@pytest.mark.parametrize("score", SCORES)
def test_of_one_source_position_it_sees_that(score: str) -> None:
    of, only, leaf = attention(score), SOURCE[:1], STATE.clone().requires_grad_()
    assert (of.weights(STATE, only, None) == 1).all()
    found = context(of, leaf, only)
    torch.testing.assert_close(found, only.expand(K, R, B, H), **CLOSE)
    assert not torch.autograd.grad(found.sum(), leaf)[0].any()
    last = torch.arange(T).view(T, 1, 1).expand(T, R, B) == T - 1
    torch.testing.assert_close(context(of, STATE, SOURCE, last), SOURCE[-1].expand(K, R, B, H), **CLOSE)


@pytest.mark.parametrize("score", SCORES)
def test_states_in_another_order_have_their_weights_in_that_order(score: str) -> None:
    of, order, mask = attention(score), torch.tensor([3, 0, 5, 1, 4, 2]), right_aligned_mask(T, R, B)
    torch.testing.assert_close(
        of.weights(STATE, SOURCE[order], mask[order]), of.weights(STATE, SOURCE, mask)[..., order], **CLOSE
    )
    torch.testing.assert_close(of(STATE, SOURCE[order], mask[order]), of(STATE, SOURCE, mask), **CLOSE)


def test_dot_attention_is_torch_s_times_the_root_of_the_width() -> None:
    of, mask = attention("dot"), right_aligned_mask(T, R, B)
    query, key = STATE.permute(1, 2, 0, 3), SOURCE.permute(1, 2, 0, 3)
    expected = functional.scaled_dot_product_attention(
        query * math.sqrt(H), key, key, attn_mask=mask.permute(1, 2, 0).unsqueeze(2)
    )
    torch.testing.assert_close(context(of, STATE, SOURCE, mask), expected.permute(2, 0, 1, 3), **CLOSE)


@pytest.mark.parametrize("steps", [(1, 1, 1), (12, 1, 1), (1, 5, 2), (3, 5, 1), (4, 7, 32)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", SCORES)
def test_attention_of_a_replica_is_what_it_is_alone(
    score: str, dtype: torch.dtype, steps: tuple[int, int, int]
) -> None:
    k, t, b = steps
    width = 64  # wide enough for other kernels of products
    given = [uniform(k, R, b, width, seed=1, dtype=dtype), uniform(t, R, b, width, seed=2, dtype=dtype)]
    found = []
    for replicas in (slice(0, R), slice(1, 2)):
        of = Attention(replicas=len(range(R)[replicas]), width=width, score=score).to(dtype)
        with torch.no_grad():
            for n, parameter in enumerate(of.parameters()):
                parameter.copy_(uniform(R, *parameter.shape[1:], seed=n, dtype=dtype)[replicas])
        leaves = [one[:, replicas].clone().requires_grad_() for one in given]
        y = of(*leaves, None)
        whole = torch.autograd.grad(y.square().sum(), [*leaves, *of.parameters()])
        found.append([y, *whole[:2], *(one.unsqueeze(0) for one in whole[2:])])
    assert all(torch.equal(together[:, 1:], alone) for together, alone in zip(*found, strict=True))


# What the decoder hears.


@each_kind
@pytest.mark.parametrize("outputs", [1, O], ids=["numbers", "classes"])
@pytest.mark.parametrize(("cell", "engine"), [("lstm", "autograd"), ("gru", "fused"), ("lru", "scan")])
def test_a_free_run_is_teacher_forcing_with_what_it_says(cell: str, engine: str, outputs: int, attention: str) -> None:
    model, inputs = net(cell, outputs=outputs, attention=attention), uniform(T, R, B, I, seed=1)
    free = run(model, inputs, engine=ENGINES[engine])
    said = free.detach() if outputs == 1 else one_hot(free.argmax(-1))
    forced = run(model, inputs, engine=ENGINES[engine], target_KRBO=said)
    other = run(model, inputs, engine=ENGINES[engine], target_KRBO=said.roll(1, dims=-1) + (outputs == 1))
    torch.testing.assert_close(free, forced, **CLOSE)
    torch.testing.assert_close(other[0], free[0], **CLOSE)
    assert not torch.isclose(other[1:], free[1:]).all(-1).any(), "it does not hear what it is told"
    assert_same(gradients(model, free), gradients(model, forced))
    without = net(cell, outputs=outputs, attention=attention, teacher_forcing=0.0)
    step = {"update": Update([0, 1], 1), "target_KRBO": said.roll(1, dims=-1) + 1.0}
    torch.testing.assert_close(run(without, inputs, engine=ENGINES[engine], **step), free, **CLOSE)


def told_to_the_decoder(model: Model, inputs: Tensor, target: Tensor, seeds: list[int], step: int = 1) -> Tensor:
    passage = Passage(ENGINES["autograd"], scored=len(target), target_KRBO=target, update=Update(seeds, step))
    model.architecture.run(model.parts, inputs, passage)
    return passage.calls[-1].input_TRBI[..., :-1]


@pytest.mark.parametrize("outputs", [1, O], ids=["numbers", "classes"])
def test_a_coin_falls_for_every_token_by_itself(outputs: int) -> None:
    """Of one sequence and of one batch some are the target's and some its own, and a replica has coins of its own."""
    steps, batch = 30, 20
    model = net("gru", outputs=outputs, teacher_forcing=0.5, attention="dot")
    inputs = uniform(T, R, batch, I, seed=1)
    target = uniform(steps, R, batch, 1, seed=4) if outputs == 1 else one_hot(classes(steps, R, batch))
    heard = told_to_the_decoder(model, inputs, target, [7, 4])
    assert not heard[0].any()
    passage = Passage(ENGINES["autograd"], scored=steps, target_KRBO=target, update=Update([7, 4], 1))
    said = model.architecture.run(model.parts, inputs, passage).detach()
    own = said if outputs == 1 else one_hot(said.argmax(-1))
    of_target, of_own = (torch.isclose(heard[1:], one[:-1]).all(-1) for one in (target, own))
    assert (of_target | of_own).all()
    differ = ~(of_target & of_own)
    for axis in ((0, 1), (1, 2)):  # in every sequence, and at every step
        both = [(kind & differ).movedim(axis, (0, 1)).flatten(0, 1).any(0) for kind in (of_target, of_own)]
        assert all(one.all() for one in both)
    share = (of_target & differ).sum() / differ.sum()
    assert abs(share - 0.5) < 0.08
    assert not torch.equal(of_target[:, 0], of_target[:, 1])

    swapped = told_to_the_decoder(model, inputs, target, [4, 7])
    again = told_to_the_decoder(model, inputs, target, [7, 4])
    assert torch.equal(again, heard)
    assert not torch.equal(swapped, heard)
    assert not torch.equal(told_to_the_decoder(model, inputs, target, [7, 4], step=2), heard)
    for r, seed in enumerate([7, 4]):
        alone = net("gru", outputs=outputs, teacher_forcing=0.5, attention="dot", replicas=1)
        with torch.no_grad():
            for one, many in zip(alone.parameters(), model.parameters(), strict=True):
                one.copy_(many[r : r + 1])
        one = slice(r, r + 1)
        assert torch.equal(told_to_the_decoder(alone, inputs[:, one], target[:, one], [seed]), heard[:, one])


def test_no_gradient_passes_through_what_it_hears() -> None:
    model, inputs = net(attention="general", teacher_forcing=0.5), uniform(T, R, B, I, seed=1).requires_grad_()
    target = one_hot(classes(K, R, B))
    passage = Passage(ENGINES["autograd"], scored=K, target_KRBO=target, update=Update([0, 1], 1))
    prediction = model.architecture.run(model.parts, inputs, passage)
    heard = passage.calls[-1].input_TRBI[..., :-1]
    assert not heard.requires_grad
    as_told = run(model, inputs, target_KRBO=torch.cat([heard[1:], heard[:1]]))
    assert_same(gradients(model, prediction, inputs), gradients(model, as_told, inputs))


# Search.


def log_probability(model: Model, inputs: Tensor, said: Tensor) -> Tensor:
    """(R, B) of an answer (K, R, B)."""
    scores = torch.log_softmax(run(model, inputs, target_KRBO=one_hot(said), scored=len(said)), dim=-1)
    return scores.gather(-1, said.unsqueeze(-1)).sum((0, -1))


@each_kind
def test_a_teacher_forced_log_probability_is_that_of_one_step_after_the_other(attention: str) -> None:
    model, inputs, said = net(attention=attention), uniform(T, R, B, I, seed=1), classes(K, R, B)
    chained = torch.zeros(R, B, dtype=torch.float64)
    for j in range(K):  # p(y_j | y_1, ..., y_{j-1}): a net that is asked for no more
        next_score = run(model, inputs, target_KRBO=one_hot(said[: j + 1]), scored=j + 1)[-1]
        chained += torch.log_softmax(next_score, -1).gather(-1, said[j].unsqueeze(-1))[..., 0]
    torch.testing.assert_close(log_probability(model, inputs, said), chained, **CLOSE)
    later = said.clone()
    later[-1] = (later[-1] + 1) % O
    ours, theirs = (run(model, inputs, target_KRBO=one_hot(x)) for x in (said, later))
    assert torch.equal(ours, theirs), "the last target is heard by nobody"


@pytest.mark.parametrize("attention", ["none", "additive"])
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
def test_a_beam_of_full_width_finds_the_most_probable_answer(attention: str, masked: bool) -> None:
    batch, steps = 40, 3
    inputs = uniform(T, R, batch, I, seed=1)
    options = {"scored": steps, "mask_TRB": right_aligned_mask(T, R, batch) if masked else None}
    greedy, full = (
        run(net("gru", bound=3, attention=attention, beam=beam), inputs, **options).argmax(-1)
        for beam in (1, O ** (steps - 1))
    )
    model = net("gru", bound=3, attention=attention)

    def score(said: Tensor) -> Tensor:
        scores = torch.log_softmax(run(model, inputs, target_KRBO=one_hot(said), **options), dim=-1)
        return scores.gather(-1, said.unsqueeze(-1)).sum((0, -1))

    every = [
        torch.tensor(one).view(steps, 1, 1).expand(steps, R, batch) for one in itertools.product(*[range(O)] * steps)
    ]
    best = torch.stack([score(one) for one in every]).max(0)
    torch.testing.assert_close(score(full), best.values, **CLOSE)
    assert torch.equal(
        torch.stack(every)[best.indices, :, torch.arange(R).view(R, 1), torch.arange(batch)], full.permute(1, 2, 0)
    )
    assert (score(greedy) < best.values - 1e-9).any(), "greedy is best for all: nothing is tested"
    narrow = run(net("gru", bound=3, attention=attention, beam=2), inputs, **options).argmax(-1)
    assert score(greedy).mean() < score(narrow).mean() <= best.values.mean() + 1e-12


def test_a_beam_exchanges_two_scores_and_no_more() -> None:
    inputs = uniform(T, R, 40, I, seed=1)
    found = run(net("gru", bound=3, beam=4), inputs)
    said = found.argmax(-1)
    forced = run(net("gru", bound=3), inputs, target_KRBO=one_hot(said))
    assert torch.equal(found.sort(-1).values, forced.sort(-1).values)
    assert not torch.equal(found, forced)
    assert ((found == forced).all(-1) == (forced.argmax(-1) == said)).all()


# Gradients.


@pytest.mark.parametrize("engine", ["autograd", "fused"])
@each_source
@each_kind
def test_adjoints_of_encoder_and_decoder_are_total_and_attention_s_is_the_direct_part(
    attention: str, source: str, engine: str
) -> None:
    model, inputs, mask = (
        net(attention=attention, source=source),
        uniform(T, R, B, I, seed=1),
        right_aligned_mask(T, R, B),
    )
    passage = Passage(ENGINES[engine], scored=K, mask_TRB=mask, target_KRBO=one_hot(classes(K, R, B)), record=True)
    cotangent = uniform(K, R, B, O, seed=9)
    (model.architecture.run(model.parts, inputs, passage) * cotangent).sum().backward()
    encoder, decoder = passage.calls
    assert [(call.name, len(call.input_TRBI)) for call in passage.calls] == [("encoder", T), ("decoder", K)]
    reading = mask.flip(0) if source == "reversed" else mask

    def loss(
        encoder_step: int | None, decoder_step: int | None, state: int, change: Tensor, direct: bool = False
    ) -> Tensor:
        """Of every example, where that state is changed at that step; `direct`: only as attention sees it."""
        s, outputs = model.cells["encoder"].zero_state(inputs[0]), []
        for i, x in enumerate(inputs.flip(0) if source == "reversed" else inputs):
            new = model.cells["encoder"].step(x, s)[1]
            seen = new[0]
            if i == encoder_step:
                if not direct:
                    new = tuple(one + change * (k == state) for k, one in enumerate(new))
                seen = seen + change * (state == 0)
            s = tuple(torch.where(reading[i].unsqueeze(-1), n, o) for n, o in zip(new, s, strict=True))
            outputs.append(seen)
        states = []
        for j, x in enumerate(decoder.input_TRBI):
            s = model.cells["decoder"].step(x, s)[1]
            s = tuple(one + change * (k == state and j == decoder_step) for k, one in enumerate(s))
            states.append(s[0])
        seen = torch.stack(states)
        if attention != "none":
            seen = model.parts["attention"](seen, torch.stack(outputs), reading)
        return (model.parts["output"](seen) * cotangent).sum()

    def norm(**where: object) -> Tensor:
        change = torch.zeros(R, B, H, dtype=torch.float64, requires_grad=True)
        (found,) = torch.autograd.grad(
            loss(**{"encoder_step": None, "decoder_step": None, **where}, change=change), change, allow_unused=True
        )
        return torch.zeros(R, B).double() if found is None else found.norm(dim=-1)

    recorded = {f"{one.prefix}{s}": one.norm_STRB[k] for one in passage.recorded() for k, s in enumerate(one.states)}
    assert tuple(recorded) == model.states
    there = reading.double()
    # An LSTM's h is made of c: a change of c is one of h too.
    for i in range(T):
        torch.testing.assert_close(
            recorded["encoder.h"][i] * there[i], norm(encoder_step=i, state=0) * there[i], **CLOSE
        )
        if attention != "none":
            direct = norm(encoder_step=i, state=0, direct=True)
            torch.testing.assert_close(recorded["attention.h"][i], direct, **CLOSE)
            assert not direct[~reading[i]].any()
            assert direct[reading[i]].all()
    for j in range(K):
        torch.testing.assert_close(recorded["decoder.h"][j], norm(decoder_step=j, state=0), **CLOSE)
    norms = adjoint_norms(passage.recorded())
    assert norms.shape == (R, len(model.states), T)
    of_decoder = [name.startswith("decoder") for name in model.states]
    assert norms[:, of_decoder, K:].isnan().all()
    assert not norms[:, of_decoder, :K].isnan().any()
    assert encoder.backward == (source == "reversed")


def test_attention_is_an_edge_of_length_one() -> None:
    """A net that loses half at every step loses half of dL/dh_i; what comes by attention it does not."""
    long, rate = 20, 0.5

    def curves(score: str) -> dict[str, Tensor]:
        def cell(inputs: int) -> Cell:
            made = drawn_cell("rnn", "identity", inputs=inputs, hidden=H, seed=inputs)
            with torch.no_grad():
                made.weight_recurrent.copy_(rate * torch.linalg.qr(uniform(H, H, seed=3))[0])
            return made

        sizes = Sizes(replicas=1, inputs=I, outputs=O, hidden=H)
        model = Model(component("architecture", "encoder_decoder", attention=score), cell, sizes).double()
        with torch.no_grad():
            for k, (name, parameter) in enumerate(model.named_parameters()):
                if not name.startswith(("encoder", "decoder")):
                    parameter.copy_(uniform(*parameter.shape, seed=k, bound=0.3))
        passage = Passage(ENGINES["autograd"], scored=1, record=True)
        model.architecture.run(model.parts, uniform(long, 1, 1, I, seed=1), passage)[-1, 0, 0, 0].backward()
        return {
            f"{one.prefix}{s}": one.norm_STRB[k, :, 0, 0]
            for one in passage.recorded()
            for k, s in enumerate(one.states)
        }

    alone, with_attention = curves("none"), curves("dot")
    expected = alone["encoder.h"][-1] * rate ** torch.arange(long - 1, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(alone["encoder.h"], expected, **CLOSE)
    direct, total = with_attention["attention.h"], with_attention["encoder.h"]
    assert direct.min() > direct.max() / 10
    assert total[0] > 1000 * alone["encoder.h"][0]
    torch.testing.assert_close(total[:5], total[5:10], rtol=1, atol=0)


@pytest.mark.parametrize("attention", ["none", "dot"])
def test_what_the_steps_give_adds_up_to_the_gradient_of_encoder_and_decoder(attention: str) -> None:
    """Though much of the encoder's comes by the state that it ends in, and of an LSTM's by both of its components."""
    setting = ["architecture=encoder_decoder", f"architecture.attention={attention}", "task=copy", "task.symbols=2"]
    figures = component("probe", "contribution").measure(moment("seeds=2", "cell=lstm", *setting))
    for name in ("encoder", "decoder"):
        torch.testing.assert_close(figures[f"{name}.share"].sum(1), torch.ones(2).double(), rtol=1e-6, atol=1e-6)


def test_dropout_is_on_every_connection_once() -> None:
    model, inputs, target = net("gru", attention="general"), uniform(T, R, B, I, seed=1), one_hot(classes(K, R, B))
    seen: list[Tensor] = []

    def unroll(cell: Cell, x: Tensor, **options: object) -> object:
        seen.append(x.detach())
        return ENGINES["autograd"].unroll(cell, x, **options)

    model.parts["output"].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    dropout = component("dropout", "non_recurrent", inputs_rate=0.5, outputs_rate=0.5)
    passage = Passage(
        Engine("autograd", "tests", 1, unroll), scored=K, dropout=dropout, update=Update([0, 1], 1), target_KRBO=target
    )
    model.architecture.run(model.parts, inputs, passage)
    encoder, decoder = passage.calls
    state = model.parts["attention"](decoder.unrolled.output_KRBH, encoder.unrolled.output_KRBH, None).detach()
    for kept, whole in zip(seen, (inputs, decoder.input_TRBI, state), strict=True):
        assert ((kept == 0) | torch.isclose(kept, 2 * whole)).all()
        assert 0.2 < (kept == 0)[whole != 0].double().mean() < 0.8


# The five shapes of Karpathy (2015): which inputs there are, and which outputs are scored.


@each_kind
def test_of_one_step_all_shapes_are_one_to_one(attention: str) -> None:
    """One to one, one to many, many to one, aligned: at T = K = 1 what a plain net is asked for is one and the same."""
    x, cotangent = uniform(1, R, B, I, seed=1), uniform(1, R, B, O, seed=9)
    found = []
    for last, padding in ((1, 0), (None, 0), (1, 3), (None, 3)):  # scored at the last step or at all; short or padded
        cell = drawn_cell("lstm", replicas=R, inputs=I, hidden=H)
        model = Model(
            component("architecture", "single"),
            lambda _, cell=cell: cell,
            Sizes(replicas=R, inputs=I, outputs=O, hidden=H),
        ).double()
        with torch.no_grad():
            model.weight_output.copy_(uniform(*model.weight_output.shape, seed=8))
        padded = torch.cat([x.new_full((padding, R, B, I), 7.0), x])
        mask = torch.arange(padding + 1).view(-1, 1, 1).expand(-1, R, B) >= padding
        passage = Passage(ENGINES["autograd"], scored=1, mask_TRB=mask if padding else None, whole=last is None)
        prediction = model(Batch(padded, torch.zeros(1, R, B)), passage)
        found.append(
            [prediction, *torch.autograd.grad((prediction.transpose(0, 1) * cotangent).sum(), model.parameters())]
        )
    for one in found[1:]:
        assert_same(one, found[0])

    # Encoder and decoder: x, then the start symbol. A decoder that changes nothing leaves one to one.
    model = net("rnn", attention=attention)
    with torch.no_grad():
        decoder = model.cells["decoder"]
        for parameter in decoder.parameters():
            parameter.zero_()
        decoder.weight_recurrent.copy_(torch.eye(H).expand(R, -1, -1))
    decoder.activation = torch.nn.Identity()
    h = model.cells["encoder"].step(x[0], model.cells["encoder"].zero_state(x[0]))[0]
    seen = h if attention == "none" else torch.tanh(torch.cat([h, h], dim=-1) @ model.parts["attention"].weight_combine)
    expected = (seen @ model.parts["output"].weight_output + model.parts["output"].bias_output).unsqueeze(0)
    ours = run(model, x, scored=1)
    torch.testing.assert_close(ours, expected, **CLOSE)
    used = [p for n, p in model.named_parameters() if n.startswith(("encoder", "output", "attention.weight_combine"))]
    assert_same(
        *(
            list(torch.autograd.grad((one * cotangent).sum(), used, allow_unused=True, materialize_grads=True))
            for one in (ours, expected)
        )
    )


def test_one_to_many_is_a_plain_net_with_inputs_of_zeros_afterwards() -> None:
    """And many to one is the same net scored at its end alone: both are masks of the aligned shape."""
    cell = drawn_cell("gru", replicas=R, inputs=I, hidden=H)
    x = uniform(1, R, B, I, seed=1)
    zeros = torch.zeros(K - 1, R, B, I, dtype=torch.float64)
    aligned = Passage(ENGINES["autograd"], scored=K)("cell", cell, torch.cat([x, zeros])).output_KRBH
    state, outputs = cell.zero_state(x[0]), []
    for j in range(K):
        output, state = cell.step(x[0] if j == 0 else zeros[0], state)
        outputs.append(output)
    assert_same([aligned], [torch.stack(outputs)])
    many_to_one = Passage(ENGINES["autograd"], scored=1)("cell", cell, torch.cat([x, zeros]), last=1).output_KRBH
    assert_same([many_to_one[0]], [aligned[-1]])
    cotangent = uniform(R, B, H, seed=9)
    ours, theirs = (
        torch.autograd.grad((one * cotangent).sum(), [*cell.parameters()]) for one in (many_to_one[0], aligned[-1])
    )
    assert_same(list(ours), list(theirs))


# Refusals.


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (["task=adding", "architecture.teacher_forcing=0.5"], "architecture.teacher_forcing=0.5: not allowed"),
        (["task=adding", "architecture.beam=2"], "architecture.beam=2: not allowed"),
        (["task=waves", "architecture.beam=2"], "architecture.beam=2: not allowed. Answers to task=waves are numbers"),
        (["task=bouncing_digits", "task.told=5"], "task=bouncing_digits: not allowed. Its next input is its answer"),
        (["task=adding", "cell=jordan"], "cell=jordan: not allowed"),
    ],
    ids=lambda x: str(x[-1]) if isinstance(x, list) else "",
)
def test_what_makes_no_sense_is_refused(setting: list[str], said: str, in_tmp_path, capfd) -> None:
    assert rnnlab("architecture=encoder_decoder", *setting) == 2
    assert said in capfd.readouterr().err
