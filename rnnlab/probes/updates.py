"""The updates probe: how far a step moves the weights, how steady and how noisy its gradient is, what clipping takes.

K scored steps, T time, R replica, B batch, N examples at once.
"""

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.architectures.model import Model
from rnnlab.clipping.gradient_step import GradientStep, gradient_norm
from rnnlab.contract import component
from rnnlab.probes.probe import Moment, Named
from rnnlab.tasks.task import Batch

AT_ONCE = 2**24
"""Single examples' gradients are held for so many numbers at once (64 MB in float32), for one example at least."""


@component
class Updates:
    """Figures (R,) of every parameter by its name in the model, and of `all` parameters together:

    `update_to_weight` |update| / |weights before|, NaN where those are zero; `cosine_with_previous`, of the gradient
    with that of the step before, NaN at the first step; `signal_to_noise` |g|^2 / mean_b |g_b - g|^2, where g_b are the
    gradients of the batch's examples, as training would have them, and g their mean. (Where the g_b are noise alone
    it is 1 / (B - 1) on average, McCandlish et al. 2018.) Of the gradient in all: `gradient_norm` before clipping, and
    `clip_factor`, the norm after clipping over that before: 1 where clipping left it alone. (These two, where recurrent
    weights are parametrised, of what is trained in their place, which is what is clipped.)

    Norms are Frobenius norms, gradients those before clipping.
    """

    needs: ClassVar[tuple[str, ...]] = ("previous",)

    def measure(self, moment: Moment) -> Named:
        weights = {name: p.detach() for name, p in moment.model.named_parameters()}
        noise = _noise(moment)
        groups = {name: [name] for name in weights} | {"all": list(weights)}
        result: Named = {}
        for group, names in groups.items():
            weight, update, gradient = (
                [of[name] for name in names] for of in (weights, moment.updates, moment.gradients)
            )
            previous = [moment.previous[name] for name in names] if moment.previous else None
            weight_R, noise_R = gradient_norm(weight), torch.stack([noise[name] for name in names]).sum(0)
            ratio_R = gradient_norm(update) / weight_R
            result[f"{group}.update_to_weight"] = ratio_R.masked_fill(weight_R == 0, torch.nan)
            result[f"{group}.cosine_with_previous"] = _cosine(gradient, previous)
            result[f"{group}.signal_to_noise"] = gradient_norm(gradient).square() / noise_R
        return result | _clip(moment)


def _cosine(gradient: list[Tensor], previous: list[Tensor] | None) -> Tensor:
    norm_R = gradient_norm(gradient)
    if previous is None:
        return torch.full_like(norm_R, torch.nan)
    pairs = zip(gradient, previous, strict=True)
    products = [(g.double() * p.double()).flatten(1).sum(-1) for g, p in pairs]
    return torch.stack(products).sum(0) / (norm_R * gradient_norm(previous))


def _clip(moment: Moment) -> Named:
    gradients = {name: g.clone() for name, g in moment.trained_gradients.items()}
    norm_R = gradient_norm([*gradients.values()])
    step = GradientStep(moment.model, gradients, norm_R.clone(), torch.isfinite(norm_R), dict(moment.memory))
    moment.clipping(step)
    return {"gradient_norm": norm_R, "clip_factor": gradient_norm([*gradients.values()]) / norm_R}


def _noise(moment: Moment) -> Named:
    """mean_b |g_b - g|^2 (R,) by parameter name."""
    R, B = moment.batch.input.shape[1:3]
    examples = torch.arange(R * B, device=moment.batch.input.device)
    size = sum(p.numel() for p in moment.model.parameters()) // R
    squares: dict[str, list[Tensor]] = {name: [] for name in moment.gradients}
    for chunk_N in examples.split(max(1, AT_ONCE // size)):
        for name, gradient in example_gradients(moment, chunk_N).items():
            apart = gradient - moment.gradients[name][chunk_N // B]
            squares[name].append(torch.linalg.vector_norm(apart.flatten(1), dim=-1, dtype=torch.float64).square())
    return {name: torch.cat(parts).view(R, B).mean(-1) for name, parts in squares.items()}


def example_gradients(moment: Moment, chunk_N: Tensor) -> Named:
    """The gradients of single examples' losses, (N, ...) by parameter name.

    Every example is a replica of its own with a batch of one, which all cells, tasks and engines know how to serve.

    Args:
        chunk_N: which, counted over replicas and within them over their examples.
    """
    batch, replica_N = _single(moment.batch, chunk_N), chunk_N // moment.batch.input.shape[2]
    model, seeds = _replicated(moment.model, replica_N), [moment.seeds[r] for r in replica_N.tolist()]
    loss = moment.task.losses(model(batch, moment.passage_as_trained(batch, seeds)), batch).sum()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(names, gradients, strict=True))


def _single(batch: Batch, chunk_N: Tensor) -> Batch:
    def pick(x: Tensor) -> Tensor:
        return x.flatten(1, 2)[:, chunk_N].unsqueeze(2)

    return Batch(pick(batch.input), pick(batch.target), None if batch.mask is None else pick(batch.mask))


def _replicated(model: Model, replica_N: Tensor) -> Model:
    """N replicas, each with the parameters and buffers of one of the model's."""
    result = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(owner), leaf, nn.Parameter(parameter.detach()[replica_N]))
    for name, buffer in model.named_buffers():
        owner, _, leaf = name.rpartition(".")
        setattr(result.get_submodule(owner), leaf, buffer[replica_N])
    return result
