"""One cell that reads, another that answers (Sutskever et al. 2014; Cho et al. 2014), with attention or without.

K decoder step, T source step, R replica, B batch, W beam, I input, H hidden, O output.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.architectures.attention import Attention
from rnnlab.architectures.dense import Readout
from rnnlab.architectures.speaker import Speaker
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Repeats, Share, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import generator


@component
class EncoderDecoder(Architecture):
    """h_i = f(x_i, h_{i-1}), i = 1..T;  s_0 = h_T, s_j = f'([y_{j-1}; 0], s_{j-1}), j = 1..K;  y_j ~ s_j V + c.

    The decoder starts from all of the encoder's last state, and hears what was said the step before, y_{j-1}: a class
    as one-hot, a number as it is; at the first step [0; 1], a symbol for the start. In training that is the target
    (teacher forcing); in evaluation, and where a coin says so, its own prediction, a class being that of the greatest
    score. No gradient passes through what it hears, and what it hears of itself it has said with nothing dropped.
    With attention V sees tanh([c_j; s_j] W), see rnnlab.architectures.attention.

    Adjoints: `encoder` has T steps, in the order that it reads them, and `decoder` K. `attention.h` is the part of
    dL/dh_i that comes straight from the decoder's steps; `encoder.h` is all of it.

    Args:
        attention: `none`: all that the decoder knows of the source is s_0. `dot`, `general`, `additive`: the score.
        source: `forward`, or `reversed`: the encoder reads the last step first, so that the first is near the answer.
        teacher_forcing: probability that a step hears the target in training, for every token by itself; what it is
            below 1 is scheduled sampling (Bengio et al. 2015).
        beam: how many answers evaluation follows; 1: at every step the greatest score. Of more, the most probable is
            taken; at a step where it does not say the greatest score, those two scores are exchanged.
    """

    attention: Literal["none", "dot", "general", "additive"]
    source: Literal["forward", "reversed"]
    teacher_forcing: Share
    beam: Repeats

    looks_ahead: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    predicts: ClassVar[bool] = True

    def why_not(self, plan: Plan) -> Refusal:
        alone = f"{plan.chosen('task')} has one scored step, and nothing is heard before it; allowed: 1"
        if plan.task.scored == 1 and self.teacher_forcing < 1:
            return {"teacher_forcing": alone}
        if plan.task.scored == 1 and self.beam > 1:
            return {"beam": alone}
        if plan.task.outputs == 1 and self.beam > 1:
            return {"beam": f"Answers to {plan.chosen('task')} are numbers, which have no probabilities; allowed: 1"}
        if getattr(plan.task, "targets", None) is not None:
            return f"It hears its own predictions; those of {plan.chosen('task')} are scores of vectors"
        return None

    @property
    def reads_backward(self) -> bool:
        return self.source == "reversed"

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        encoder, decoder = cell(sizes.inputs), cell(sizes.outputs + 1)
        attends = {"attention": Attention(replicas=sizes.replicas, width=encoder.width, score=self.attention)}
        return {
            "encoder": encoder,
            **(attends if self.attention != "none" else {}),
            "decoder": decoder,
            "output": Readout(replicas=sizes.replicas, inputs=decoder.width, outputs=sizes.outputs),
        }

    def width(self, parts: Parts) -> int:
        return parts["output"].outputs

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        attends = self.attention != "none"
        needed = None if attends or passage.last is None else 1
        read = passage("encoder", parts["encoder"], input_TRBI, last=needed, backward=self.reads_backward)
        source_TRBH, mask_TRB = None, passage.calls[-1].mask_TRB
        if attends:
            source_TRBH = passage.watch("attention", read.output_KRBH, mask_TRB=mask_TRB)
        speaker = Speaker(parts, passage.resting(parts["decoder"]), source_TRBH, mask_TRB)

        heard_KRBO, said_KRB = self._heard(speaker, read.state, passage)
        start_KRB1 = torch.zeros_like(heard_KRBO[..., :1])
        start_KRB1[0] = 1
        told_KRBI = torch.cat([heard_KRBO, start_KRB1], dim=-1)
        state_KRBH = passage("decoder", parts["decoder"], told_KRBI, state=read.state, mask_TRB=None).output_KRBH
        prediction_KRBO = parts["output"](passage.leave(speaker.attend(state_KRBH)))
        return prediction_KRBO if said_KRB is None else _exchanged(prediction_KRBO, said_KRB)

    @torch.no_grad()
    def _heard(self, speaker: Speaker, state: tuple[Tensor, ...], passage: Passage) -> tuple[Tensor, Tensor | None]:
        """(K, R, B, O): what is said the step before, 0 at the first; of a beam also what is said, (K, R, B)."""
        target_KRBO, K = passage.target_KRBO, passage.scored
        if target_KRBO is None:
            if self.beam > 1 and K > 1:
                said_KRB = speaker.best(K, state, self.beam)
                one_hot_KRBO = functional.one_hot(said_KRB, speaker.outputs).to(state[0])
                return _before(one_hot_KRBO), said_KRB
            return _before(speaker.speak(K, state)), None
        if self.teacher_forcing == 1 or passage.update is None or K == 1:
            return _before(target_KRBO), None
        heads = [self._coins(seed, passage.update.step, target_KRBO) for seed in passage.update.seeds]
        coin_KRB = torch.stack(heads, dim=1).to(target_KRBO.device)
        return _before(speaker.speak(K, state, target_KRBO, coin_KRB)), None

    def _coins(self, seed: int, step: int, target_KRBO: Tensor) -> Tensor:
        """(K, B) bool of one replica: where the target is heard."""
        K, _, B, _ = target_KRBO.shape
        return torch.rand(K, B, generator=generator(seed, "architecture", step)) < self.teacher_forcing


def _before(said_KRBO: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(said_KRBO[:1]), said_KRBO[:-1]])


def _exchanged(prediction_KRBO: Tensor, said_KRB: Tensor) -> Tensor:
    """The greatest score is that of what is said: the metric is then of that, and the loss of a distribution."""
    said_KRB1, top_KRB1 = said_KRB.unsqueeze(-1), prediction_KRBO.argmax(-1, keepdim=True)
    of_said, of_top = (prediction_KRBO.gather(-1, at) for at in (said_KRB1, top_KRB1))
    return prediction_KRBO.scatter(-1, top_KRB1, of_said).scatter(-1, said_KRB1, of_top)
