"""R replicas that train in lockstep, each as if it were alone.

Parameters are stacked as (R, ...), so that products are batched. The optimiser sees per-replica leaves that share the
stacked storage, so every optimiser of torch.optim serves, and a replica that has ended is skipped by having no
gradient. A replica that ends leaves the stack: those that go on pay only for themselves. What the clipping rule
remembers of each replica is stacked likewise.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.architectures.model import PARAMETRISED, Model
from rnnlab.clipping.gradient_step import Clipping, GradientStep
from rnnlab.device import waits
from rnnlab.training.form import check_form, check_optimiser


class Population:
    """The model, its replicas' leaves, their optimiser and what clipping remembers of them.

    Args:
        model: for len(seeds) replicas.
        seeds: one per replica.
        optimiser: makes a torch optimiser from parameter groups; has `lr` and `recurrent_lr_factor`.
        clipping: the rule for gradients.
    """

    def __init__(self, model: Model, seeds: list[int], optimiser: Any, clipping: Clipping) -> None:
        self.model = model
        self.seeds = list(seeds)
        self.active = list(seeds)
        self.names = [name for name, _ in model.named_parameters()]
        self.stacked = [p for _, p in model.named_parameters()]
        self.leaves = {seed: [p.detach()[r].requires_grad_() for p in self.stacked] for r, seed in enumerate(seeds)}
        self.fixed = {seed: {n: b[r].clone() for n, b in model.named_buffers()} for r, seed in enumerate(seeds)}
        self.make_optimiser = optimiser
        self.optimiser = self._optimiser(self.leaves)
        self.healthy_R = torch.ones(len(seeds), dtype=torch.bool, device=self.stacked[0].device)
        self.clipping, self.memory = clipping, dict[str, Tensor]()

    def _optimiser(self, leaves: dict[int, list[Tensor]]) -> torch.optim.Optimizer:
        make = self.make_optimiser
        recurrent = [n.endswith("weight_recurrent") or f".{PARAMETRISED}." in n for n in self.names]
        return make(
            [
                {
                    "params": [p for of in leaves.values() for p, r in zip(of, recurrent, strict=True) if r == kind],
                    "lr": make.lr * factor,
                    "full_lr": make.lr * factor,
                    "recurrent": kind,
                }
                for kind, factor in ((False, 1.0), (True, make.recurrent_lr_factor))
            ]
        )

    def gradients(self, effective: Model, examples: int) -> list[Tensor]:
        """The gradients of each replica's mean loss, (R, ...) per parameter, from those of the summed loss.

        Every example's loss is differentiated with weight one, so that an adjoint is that of one example and an
        adjoint rule's threshold does not depend on the batch size; the mean is taken here.

        Args:
            effective: the model's `effective()` that was differentiated; its gradients are left there.
        """
        self.model.pull_back(effective)
        result = []
        for parameter in self.stacked:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            result.append(gradient.div_(examples))
            parameter.grad = None
        return result

    def effective_gradients(self, effective: Model, gradients: list[Tensor], examples: int) -> dict[str, Tensor]:
        """The same by the names of the effective model."""
        named = dict(zip(self.names, gradients, strict=True))
        return {
            name: named[name]
            if name in named
            else torch.zeros_like(parameter)
            if parameter.grad is None
            else parameter.grad / examples
            for name, parameter in effective.named_parameters()
        }

    def clip(self, gradients: list[Tensor], norm_R: Tensor, usable_R: Tensor) -> tuple[Tensor, Tensor]:
        """Clip in place; (R,) bool, which replicas were clipped, and whose gradients are usable after that.

        See `GradientStep` for the arguments.
        """
        step = GradientStep(self.model, dict(zip(self.names, gradients, strict=True)), norm_R, usable_R, self.memory)
        return self.clipping(step), step.usable_R

    def step(self, gradients: list[Tensor], usable_R: Tensor, lr_factor: float) -> Tensor:
        """Update every healthy replica; the others stay as they are, from the first step that was not fine.

        Nothing here waits for a device: on one the unhealthy replicas are updated too, and taken back.

        Args:
            gradients: one tensor (R, ...) per parameter.
            usable_R: bool, whether a replica's loss and gradient are finite, or made so.
            lr_factor: the schedule's.
        Returns:
            (R,) bool: which replicas are healthy: all was fine, and every update left finite parameters.
        """
        before = self.backup()
        for r, seed in enumerate(self.active):
            for leaf, gradient in zip(self.leaves[seed], gradients, strict=True):
                leaf.grad = gradient[r]
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_lr"] * lr_factor
        try:
            self.optimiser.step()
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            # The size of the step is no number of this dtype: other optimisers make the parameters infinite then.
            usable_R = torch.zeros_like(usable_R)
        for cell in self.model.cells.values():
            cell.constrain()
        self.healthy_R = self.healthy_R & usable_R
        self.take_back(before)
        return self.healthy_R

    def backup(self) -> list[Tensor]:
        """A copy of the active replicas' parameters."""
        return [p.detach().clone() for p in self.stacked]

    def take_back(self, before: list[Tensor]) -> None:
        """Undo the update of every replica that is not healthy, or that the update left with numbers not finite."""
        now = [p.detach() for p in self.stacked]
        # Looking mostly spares the work. As plain numbers: a third of the time of tensors.
        look = not waits(self.healthy_R.device)
        if look and math.isfinite(sum(p.sum().item() for p in now)) and self.healthy_R.all():
            return
        finite_PR = torch.stack([torch.isfinite(p).flatten(1).all(1) for p in now])
        self.healthy_R = self.healthy_R & finite_PR.all(0)
        for parameter, old in zip(now, before, strict=True):
            keeps = self.healthy_R.view(-1, *[1] * (old.dim() - 1))
            parameter.copy_(torch.where(keeps, parameter, old))

    def snapshot(self) -> dict[str, Any]:
        """What a step changes, for `restore`."""
        return {
            "parameters": self.backup(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "clipping": {name: value.clone() for name, value in self.memory.items()},
            "healthy": self.healthy_R,
        }

    def restore(self, before: dict[str, Any]) -> None:
        """As it was at a snapshot, since when no replica has ended."""
        for parameter, old in zip(self.stacked, before["parameters"], strict=True):
            parameter.detach().copy_(old)
        self.optimiser.load_state_dict(before["optimiser"])
        self.memory, self.healthy_R = before["clipping"], before["healthy"]

    def keep(self, seeds: list[int]) -> None:
        """Only these replicas train on; the others keep the parameters they have."""
        if seeds == self.active:
            return
        rows = [self.active.index(seed) for seed in seeds]
        self.memory = {name: remembered[rows] for name, remembered in self.memory.items()}
        for seed in self.active:
            if seed not in seeds:
                for leaf in self.leaves[seed]:
                    leaf.data, leaf.grad = leaf.data.clone(), None
        for k, name in enumerate(self.names if seeds else []):
            # A new parameter: autograd remembers the shape of the old one.
            self.stacked[k] = nn.Parameter(torch.stack([self.leaves[seed][k].data for seed in seeds]))
            owner, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(owner), leaf, self.stacked[k])
            for r, seed in enumerate(seeds):
                self.leaves[seed][k].data = self.stacked[k].data[r]
        for name in self.fixed[self.seeds[0]] if seeds else []:
            owner, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(owner), leaf, torch.stack([self.fixed[seed][name] for seed in seeds]))
        self.active = list(seeds)
        self.healthy_R = self.healthy_R.new_ones(len(seeds))

    def weights(self, seed: int) -> dict[str, Tensor]:
        """One replica's parameters by name, without the replica axis.

        Under a parametrisation also what stays fixed, and the recurrent weights that follow from both.
        """
        result = {n: leaf.detach() for n, leaf in zip(self.names, self.leaves[seed], strict=True)}
        result |= self.fixed[seed]
        for name, cell in self.model.cells.items():
            begin = f"{name}.{PARAMETRISED}."
            parts = {n.removeprefix(begin): p for n, p in result.items() if n.startswith(begin)}
            if parts:
                result[f"{name}.weight_recurrent"] = getattr(cell, PARAMETRISED).of_replica(parts)
        return result

    def state_dict(self) -> dict[str, Any]:
        """Plain containers and tensors only, so that loading executes no code."""
        return {
            "weights": {str(seed): {n: w.cpu() for n, w in self.weights(seed).items()} for seed in self.seeds},
            "optimiser": self.optimiser.state_dict(),
            "clipping": dict(self.memory),
            "active": list(self.active),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a freshly built population into a saved state.

        Raises:
            LookupError, RuntimeError, TypeError, ValueError: it is not a state of this net; this population is of no
                use then.
        """
        active = state["active"]
        if active != [seed for seed in self.seeds if seed in active]:
            raise ValueError("other seeds are training")
        check_optimiser(state["optimiser"], self.optimiser, self._remembered)
        buffers = dict(self.model.named_buffers())
        for r, seed in enumerate(self.seeds):
            saved = state["weights"][str(seed)]
            check_form(f"weights of seed {seed}", saved, self.weights(seed))
            for name, leaf in zip(self.names, self.leaves[seed], strict=True):
                leaf.data.copy_(saved[name])
            for name, fixed in self.fixed[seed].items():
                # As it was made then: another machine's decomposition need not give the same again.
                fixed.copy_(saved[name])
                buffers[name][r].copy_(fixed)
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, own in zip(self.optimiser.param_groups, options, strict=True):
            group.update(own)
        self.keep(list(active))
        self._check_memory(state["clipping"])
        self.memory = {name: value.to(self.healthy_R.device) for name, value in state["clipping"].items()}

    def _remembered(self) -> list[list[dict[str, Any]]] | None:
        """What the optimiser remembers of each parameter of a replica, by group: tried with a step that is none."""
        leaves = [torch.zeros_like(leaf).requires_grad_() for leaf in self.leaves[self.seeds[0]]]
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)
        try:
            optimiser = self._optimiser({self.seeds[0]: leaves})
            optimiser.step()
        except Exception:  # of the user's own
            return None
        return [[dict(optimiser.state[leaf]) for leaf in group["params"]] for group in optimiser.param_groups]

    def _check_memory(self, saved: dict[str, Tensor]) -> None:
        """What clipping remembers has a row for each replica that trains; how much it is the rule alone knows."""
        memory: dict[str, Tensor] = {}
        if saved and self.active:
            norm_R = torch.zeros(len(self.active), dtype=torch.float64, device=self.healthy_R.device)
            zeros = {name: torch.zeros_like(p) for name, p in zip(self.names, self.stacked, strict=True)}
            self.clipping(GradientStep(self.model, zeros, norm_R, self.healthy_R.clone(), memory))
        if self.active and saved.keys() != memory.keys():
            raise ValueError("clipping remembers something else")
        for name, own in memory.items():
            kept = saved[name]
            if kept.layout != torch.strided or (kept.dtype, kept.dim(), len(kept)) != (own.dtype, own.dim(), len(own)):
                raise ValueError(f"clipping.{name} has another form")
