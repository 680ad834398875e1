"""Activations against their definitions, written out with NumPy."""

import numpy as np
import pytest
import torch
from support import component, uniform

DEFINITIONS = {
    "identity": lambda a, b: a,
    "leaky_relu": lambda a, b: np.where(a > 0, a, 0.2 * a),
    "modrelu": lambda a, b: np.sign(a) * np.maximum(np.abs(a) + b, 0),
    "relu": lambda a, b: np.maximum(a, 0),
    "sigmoid": lambda a, b: 1 / (1 + np.exp(-a)),
    "tanh": lambda a, b: np.tanh(a),
}
CHANGES = {"leaky_relu": {"slope": 0.2}}


@pytest.mark.technique("activation=identity", "activation=leaky_relu", "activation=modrelu")
@pytest.mark.technique("activation=relu", "activation=sigmoid", "activation=tanh")
@pytest.mark.parametrize("option", DEFINITIONS)
def test_an_activation_is_its_definition(option: str) -> None:
    made = component("activation", option, {"replicas": 2, "units": 5}, **CHANGES.get(option, {}))
    bias_R1H = np.linspace(-1.5, 1.5, 10).reshape(2, 1, 5)
    for parameter in made.parameters():
        parameter.data = torch.from_numpy(bias_R1H).view_as(parameter)
    values = uniform(2, 40, 5, seed=0, bound=4.0)
    expected = DEFINITIONS[option](values.numpy(), bias_R1H)
    np.testing.assert_allclose(made(values).detach().numpy(), expected, rtol=1e-14, atol=1e-15)
