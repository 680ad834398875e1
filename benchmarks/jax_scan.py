"""The same work as a JAX user would write it: `lax.scan`, jitted, with the adjoints as gradients of zeros.

A zero is added to every component of every state. The gradient with respect to it is the total derivative of the loss
with respect to that component at that step; its norm per step and example is taken inside the jitted function.

The input's product stands inside the scan: computed for all steps beforehand, it made every cell slower (by 8 to 50 %
over the shapes of the suite, one and two threads).

Shapes of one replica, as `vmap` hands it over: T time, B batch, I input, H hidden; R replica, S state component.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.agreement import Candidate, Numbers
from rnnlab.cells.cell import Cell


def why_not() -> str | None:
    """Why JAX cannot run here; None when it can."""
    return None if importlib.util.find_spec("jax") else "JAX is not installed: pip install '.[bench]'"


def jax_candidate(name: str, cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor, threads: int) -> Candidate:
    """The scan on the CPU, in so many threads."""
    jax = _start(threads)

    def numbers(result: Any) -> Numbers:
        gradients, norm = jax.tree.map(lambda array: torch.from_dlpack(array).clone(), result)
        if input_TRBI.shape[1] == 1:
            gradients, norm = {n: g.unsqueeze(0) for n, g in gradients.items()}, norm.unsqueeze(2)
        return {**gradients, "norm": norm}

    return Candidate(compiled(jax, name, cell, input_TRBI, cotangent_TRBH), numbers)


def compiled(jax: Any, name: str, cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> Callable[[], Any]:
    """A call does the scan of `rnn`, `lstm` or `gru` with the weights of a cell, for several replicas by `vmap`."""
    work = _gradients_and_norms(jax, name)
    weights = {n: p.detach().cpu().numpy() for n, p in cell.named_parameters()}
    inputs, cotangent = input_TRBI.cpu().numpy(), cotangent_TRBH.cpu().numpy()
    if inputs.shape[1] == 1:
        arrays: Any = {n: weight[0] for n, weight in weights.items()}, inputs[:, 0], cotangent[:, 0]
    else:
        arrays, work = (weights, inputs, cotangent), jax.vmap(work, in_axes=(0, 1, 1), out_axes=(0, 2))
    jitted, arguments = jax.jit(work), jax.device_put(arrays)
    return lambda: jax.block_until_ready(jitted(*arguments))


def _start(threads: int) -> Any:
    """The module, its CPU client held to so many threads: NPROC counts at its start, and never again in a process."""
    os.environ["NPROC"] = str(threads)
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.devices()
    return jax


def _gradients_and_norms(jax: Any, name: str) -> Callable[..., tuple[dict[str, Any], Any]]:
    """(parameters, input (T, B, I), cotangent (T, B, H)) -> gradients of the parameters, norms (S, T, B)."""
    jnp = jax.numpy
    step, components = _steps(jax)[name]

    def loss(parameters: dict[str, Any], zeros: Any, inputs: Any, cotangent: Any) -> Any:
        def advance(state: Any, at_step: Any) -> Any:
            x, zero = at_step
            state = step(parameters, x, state, zero)
            return state, state[0]

        start = (jnp.zeros_like(cotangent[0]),) * components
        _, output = jax.lax.scan(advance, start, (inputs, zeros))
        return jnp.sum(output * cotangent)

    def gradients_and_norms(parameters: dict[str, Any], inputs: Any, cotangent: Any) -> tuple[dict[str, Any], Any]:
        zeros = (jnp.zeros_like(cotangent),) * components
        gradients, adjoints = jax.grad(loss, argnums=(0, 1))(parameters, zeros, inputs, cotangent)
        return gradients, jnp.stack([jnp.linalg.norm(adjoint, axis=-1) for adjoint in adjoints])

    return gradients_and_norms


def _steps(jax: Any) -> dict[str, tuple[Callable[..., tuple[Any, ...]], int]]:
    """A step per cell, equations and parameters as in rnnlab.cells, and how many components its state has."""
    jnp, sigmoid = jax.numpy, jax.nn.sigmoid

    def rnn(p: dict[str, Any], x: Any, state: Any, zero: Any) -> tuple[Any, ...]:
        (h,) = state
        return (jnp.tanh(x @ p["weight_input"] + h @ p["weight_recurrent"] + p["bias"]) + zero[0],)

    def lstm(p: dict[str, Any], x: Any, state: Any, zero: Any) -> tuple[Any, ...]:
        h, c = state
        a_i, a_f, a_o, a_g = jnp.split(x @ p["weight_input"] + h @ p["weight_recurrent"] + p["bias"], 4, axis=-1)
        c = sigmoid(a_f) * c + sigmoid(a_i) * jnp.tanh(a_g) + zero[1]
        return sigmoid(a_o) * jnp.tanh(c) + zero[0], c

    def gru(p: dict[str, Any], x: Any, state: Any, zero: Any) -> tuple[Any, ...]:
        (h,) = state
        a_r, a_z, a_n = jnp.split(x @ p["weight_input"] + p["bias"], 3, axis=-1)
        u_r, u_z, u_n = jnp.split(h @ p["weight_recurrent"], 3, axis=-1)
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = jnp.tanh(a_n + r * (u_n + p["bias_candidate_recurrent"]))
        return ((1 - z) * n + z * h + zero[0],)

    return {"rnn": (rnn, 1), "lstm": (lstm, 2), "gru": (gru, 1)}
