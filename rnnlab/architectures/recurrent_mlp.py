"""Recurrent layers with layers without recurrence between them (Puskorius & Feldkamp 1994)."""

from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.architectures.dense import Perceptron
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Repeats, RepeatsOrZero, component
from rnnlab.plan import Plan, Refusal


@component
class RecurrentMLP(Architecture):
    """h^k_t = cell(y^{k-1}_t, h^k_{t-1}), y^k_t = phi(... phi(h^k_t V^{k1} + b^{k1}) ... V^{kM} + b^{kM}), y^0 = x,
    k = 1, ..., layers: every recurrent layer has feedback of its own, and M dense layers stand between it and the next.

    The readout sees the last h. With M = 0 it is `stacked`. phi is the configured activation, V and b are drawn as
    input weights and biases are. Depth at a step costs no depth in time: the way from t to t' through a layer's own
    feedback passes no dense layer. Adjoints of the dense layers are recorded too, as `between1.h` of the one above
    layer 1, or `between1_2.h` of the second there. Dropout is on what cells read, and on what the readout does.

    Args:
        layers: recurrent ones, at least 2.
        between: M, from each of them to the next.
    """

    layers: Repeats
    between: RepeatsOrZero

    def why_not(self, plan: Plan) -> Refusal:
        if self.layers < 2:
            return {"layers": "There is nothing between the layers of one; at least 2"}
        return None

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        made, inputs, units = dict[str, nn.Module](), sizes.inputs, sizes.hidden
        for k in range(1, self.layers + 1):
            made[f"layer{k}"] = layer = cell(inputs)
            inputs = layer.width
            for name in self._above(k):
                activation = sizes.activation(units)
                made[name] = Perceptron(replicas=sizes.replicas, inputs=inputs, outputs=units, activation=activation)
                inputs = units
        return made

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        for k in range(1, self.layers + 1):
            last = passage.last if k == self.layers else None
            input_TRBI = passage(f"layer{k}", parts[f"layer{k}"], input_TRBI, last=last).output_KRBH
            for name in self._above(k):
                input_TRBI = passage.watch(name, parts[name](input_TRBI))
        return input_TRBI

    def _above(self, k: int) -> list[str]:
        """Names of the dense layers between recurrent layer k and the next."""
        if k == self.layers:
            return []
        return [f"between{k}_{m}" if self.between > 1 else f"between{k}" for m in range(1, self.between + 1)]
