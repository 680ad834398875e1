"""Laws of what is remembered from step to step: replicas as alone, one ending or not, and through a checkpoint."""

import copy
import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnlab.clipping.gradient_step import gradient_norm
from rnnlab.contract import ConfigError
from rnnlab.laws.ground import DTYPES, component, drawn_cell, from_file, net_of, uniform
from rnnlab.laws.law import hold, hold_same, law
from rnnlab.laws.subject import Subject
from rnnlab.training import checkpoint
from rnnlab.training.population import Population

SEEDS = [4, 1, 7]


def _sooner(subject: Subject) -> Subject:
    """With numbers of steps, or of whatever else, no greater than 3, where that is allowed: so that it comes to it."""
    for name, value in subject.values.items():
        if type(value) is int and value > 3:
            try:
                subject.changed(**{name: 3}).make()
            except ConfigError:
                continue
            subject = subject.changed(**{name: 3})
    return subject


def _population(subject: Subject, seeds: list[int], dtype: torch.dtype) -> Population:
    """A GRU and a readout; every parameter is a function of its replica's seed."""
    parts = {"optimiser": component("optimiser", "sgd"), "clipping": component("clipping", "none")}
    parts[subject.group] = _sooner(subject).make()
    model = net_of(drawn_cell("gru", replicas=len(seeds), hidden=5), outputs=2).to(dtype)
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            for r, seed in enumerate(seeds):
                parameter[r].copy_(uniform(*parameter.shape[1:], seed=100 * seed + k))
    return Population(model, seeds, parts["optimiser"], parts["clipping"])


def _train(trained: Population, *steps: int) -> None:
    """Gradients are a function of seed and step; their size changes from step to step."""
    for step in steps:
        gradients = [
            torch.stack(
                [
                    uniform(*p.shape[1:], seed=1000 * step + 50 * seed + k, bound=0.1 + step * seed % 5).to(p.dtype)
                    for seed in trained.active
                ]
            )
            for k, p in enumerate(trained.stacked)
        ]
        norm_R = gradient_norm(gradients)
        usable_R = norm_R > 0
        trained.clip(gradients, norm_R, usable_R)
        trained.step(gradients, usable_R, 1.0)


@law("optimiser", "clipping")
def a_replica_trains_as_alone_also_after_another_has_ended(subject: Subject) -> None:
    for dtype in DTYPES:
        together = _population(subject, SEEDS, dtype)
        _train(together, 1, 2, 3, 4)
        together.keep([4, 7])
        _train(together, 5, 6, 7)
        for seed in (4, 7):
            alone = _population(subject, [seed], dtype)
            start = copy.deepcopy(alone.weights(seed))
            _train(alone, *range(1, 8))
            for name, weight in alone.weights(seed).items():
                hold_same(together.weights(seed)[name], weight, f"{name} of seed {seed} in a population, and alone")
                hold(not torch.equal(weight, start[name]), f"{name} is not trained")


@law("optimiser", "clipping")
def a_checkpoint_changes_nothing(subject: Subject) -> None:
    for dtype in DTYPES:
        whole = _population(subject, SEEDS, dtype)
        _train(whole, 1, 2, 3)
        whole.keep([4, 7])
        _train(whole, 4)
        resumed = _population(subject, SEEDS, dtype)
        resumed.load_state_dict(from_file(checkpoint._canonical(whole.state_dict())))
        for trained in (whole, resumed):
            _train(trained, 5, 6, 7)
        for seed in SEEDS:
            for name, weight in whole.weights(seed).items():
                hold_same(resumed.weights(seed)[name], weight, f"{name} of seed {seed} after a checkpoint, and without")
        hold(_written(whole) == _written(resumed), "equal states are not equal bytes")


@law("optimiser", "clipping")
def a_state_of_another_form_is_refused_before_a_kernel_is_given_it(subject: Subject) -> None:
    trained = _population(subject, SEEDS, torch.float32)
    _train(trained, 1, 2)
    saved = checkpoint._canonical(trained.state_dict())
    resumed = _population(subject, SEEDS, torch.float32)
    resumed.load_state_dict(saved)
    forms = (None, lambda x: "x", lambda x: x.flatten()[:0], lambda x: x.to(torch.int16), lambda x: x.to_sparse())
    tensors = [p for part in ("optimiser", "clipping", "weights") for p in _places(saved[part], (part,))]
    for path in [p for p in tensors if "param_groups" not in p]:
        alone = len(saved[path[0]]) == 1  # a rule that remembers nothing is like one before its first step
        for form in (forms if isinstance(_at(saved, path), Tensor) else forms[:2])[alone:]:
            told = _refusal(resumed, _changed(saved, path, form))
            known = isinstance(told, ValueError | LookupError | AttributeError)
            hold(known, f"another form of {'.'.join(map(str, path))}, and {told!r} is raised")
    for key in saved["optimiser"]["param_groups"][1].keys() - {"lr"}:
        told = _refusal(resumed, _changed(saved, ("optimiser", "param_groups", 1, key), lambda x: "x"))
        hold("the optimiser has another" in str(told), f"another {key}, and {told!r} is raised")
    resumed.load_state_dict(saved)


def _written(trained: Population) -> bytes:
    written = io.BytesIO()
    torch.save(checkpoint._canonical(trained.state_dict()), written)
    return written.getvalue()


def _refusal(population: Population, state: dict[str, Any]) -> Exception | None:
    try:
        population.load_state_dict(state)
    except Exception as error:
        return error
    return None


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every tensor, number and text in nested containers."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        return [path]
    return [place for key, part in parts for place in _places(part, (*path, key))]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    return _at(value[path[0]], path[1:]) if path else value


def _changed(value: Any, path: tuple[Any, ...], new: Callable[[Any], Any] | None) -> Any:
    """A copy in which `new` has been applied to what is there; None takes it away."""
    if not path:
        assert new is not None
        return new(value)
    result, key = copy.copy(value), path[0]
    if len(path) == 1 and new is None:
        del result[key]
    else:
        result[key] = _changed(value[key], path[1:], new)
    return result
