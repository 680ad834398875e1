"""Addition, character by character (Zaremba & Sutskever 2014; in the form of Keras's example addition_rnn).

T time, K scored step, R replica, B batch, O output, N examples, M tries, D digits.
"""

import functools
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab.contract import Count, Share, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.task import Batch, Metric, class_losses, drawn_evaluation_batches, drawn_training_batch, example_mean

CHARACTERS = "0123456789 +"
"""By class number. The first 11 can be in an answer; all are one-hot inputs."""
BLANK, PLUS = CHARACTERS.index(" "), CHARACTERS.index("+")


@component
class Addition:
    """Read `12+34` and say `46`: characters in, characters out.

    A question has 2 D + 1 characters, an answer K = D + 1, either filled up with blanks behind. All pairs of numbers
    with at most D digits are equally likely. (Keras's example draws lengths first, and no pair twice: of two digits
    that is nearly every pair once. Drawn again and again so, a quarter of the questions would be a table of 55 sums.)

    A pair of numbers, in whichever order, is either in training or held out: a tenth of the pairs is, chosen by a hash
    of the two. So the two sets cannot coincide, and what is measured is whether it can add.

    The baseline is the mean entropy of the answer's K characters, each by itself, over all questions: the loss of
    whoever knows the place and nothing of the question. It is computed over all pairs of numbers.

    Args:
        digits: D, at most 6.
        batch: examples per training step.
        reversed: the question is read backwards, its blanks first: then its end is not far from the answer's.
        answer: `appended`: the answer is due at K steps with a blank as input after the question, T = 3 D + 2.
            `decoded`: an architecture with a decoder says it after T = 2 D + 1 steps.
        examples: None for fresh questions at every step; else the size of a fixed set, reshuffled every epoch, in which
            a pair may stand twice.
        solved_accuracy: solved when at least this share of the held-out answers is right in every character.
    """

    digits: Count
    batch: Count
    reversed: bool
    answer: Literal["appended", "decoded"]
    examples: Count | None
    solved_accuracy: Share

    inputs: ClassVar[int] = 12
    outputs: ClassVar[int] = 11
    metric: ClassVar[Metric] = Metric("accuracy", "share of the whole answers", "higher")
    unit: ClassVar[str] = "nats per character"

    def why_not(self, plan: Plan) -> Refusal:
        if self.digits > 6:
            return {"digits": "At most 6: the baseline is a sum over all questions"}
        if self.examples is not None and self.examples < self.batch:
            return {"examples": f"A fixed set holds at least task.batch={self.batch}"}
        if self.answer == "decoded" and not getattr(plan.parts["architecture"], "decodes", False):
            return {"answer": f"It needs an architecture with a decoder; {plan.chosen('architecture')} has none"}
        return None

    @property
    def steps(self) -> int:
        question = 2 * self.digits + 1
        return question + self.scored if self.answer == "appended" else question

    @property
    def scored(self) -> int:
        return self.digits + 1

    @property
    def solved_when(self) -> str:
        return f"share of right answers >= {self.solved_accuracy:g}"

    @property
    def baseline(self) -> float:
        return torch.special.entr(answer_shares(self.digits)).sum(1).mean().item()

    # Examples are kept as the two numbers (n, 2).
    def draw(self, n: int, generator: Generator) -> tuple[Tensor]:
        """The first of 32 pairs that is not held out: a loop until there is one would wait for the device."""
        pair_MN2 = self._pairs(32 * n, generator).view(32, n, 2)
        first_N = (~held_out(pair_MN2)).byte().argmax(0)
        return (pair_MN2.gather(0, first_N.view(1, n, 1).expand(1, n, 2))[0],)

    def draw_held_out(self, n: int, generator: Generator) -> tuple[Tensor]:
        """Drawn again wherever a pair is not held out."""
        pair_N2 = self._pairs(n, generator)
        while len(wrong := (~held_out(pair_N2)).nonzero()[:, 0]):
            pair_N2[wrong] = self._pairs(len(wrong), generator)
        return (pair_N2,)

    def _pairs(self, n: int, generator: Generator) -> Tensor:
        return torch.randint(10**self.digits, (n, 2), generator=generator, device=generator.device)

    def write(self, drawn: tuple[Tensor]) -> Batch:
        first_N, second_N = drawn[0].unbind(1)
        classes_NT = self._question(first_N, second_N)
        target_NK = text(first_N + second_N, self.scored)
        if self.answer == "appended":
            classes_NT = torch.cat([classes_NT, torch.full_like(target_NK, BLANK)], dim=1)
        return Batch(functional.one_hot(classes_NT.T, self.inputs).to(torch.get_default_dtype()), target_NK.T)

    def _question(self, first_N: Tensor, second_N: Tensor) -> Tensor:
        """(N, 2 D + 1): the classes of its characters."""
        room = 2 * self.digits + 1
        place_T = torch.arange(room, device=first_N.device).expand(len(first_N), room)
        plus_N1 = (text(first_N, self.digits) != BLANK).sum(1, keepdim=True)
        classes = functional.pad(text(first_N, self.digits), (0, self.digits + 1), value=BLANK)
        behind = functional.pad(text(second_N, self.digits), (self.digits + 1, 0), value=BLANK)
        # The second number stands behind the sign, wherever that is: what falls off in front is blank.
        behind = behind.gather(1, (place_T + self.digits - plus_N1) % room)
        classes = torch.where(place_T < plus_N1, classes, torch.where(place_T == plus_N1, PLUS, behind))
        return classes.flip(1) if self.reversed else classes

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return drawn_training_batch(self, seed, step, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        return drawn_evaluation_batches(self, examples, self.draw_held_out)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats, mean over the answer's characters."""
        return example_mean(class_losses(prediction_RKBO, batch))

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): 1 where every character is right."""
        right_RKB = prediction_RKBO.argmax(-1) == batch.target.transpose(0, 1)
        return right_RKB.all(1).to(prediction_RKBO.dtype)

    def solved(self, loss: float, metric: float) -> bool:
        return metric >= self.solved_accuracy

    def describe(self, generator: Generator) -> str:
        """Question and answer; `_` is a blank."""
        batch = self.write(self.draw(1, generator))
        asked, told = (_spelt(classes) for classes in (batch.input[:, 0].argmax(-1), batch.target[:, 0]))
        below = told.rjust(len(asked)) if self.answer == "appended" else f"{told}   decoded after the last step"
        return f"input   {asked}\ntarget  {below}"


def text(number_N: Tensor, room: int) -> Tensor:
    """(N, room): numbers as classes of decimal digits, filled up with blanks behind."""
    place = torch.arange(room, device=number_N.device)
    length_N1 = 1 + (number_N.unsqueeze(1) >= 10 ** place[1:]).sum(1, keepdim=True)
    power = 10 ** (length_N1 - 1 - place).clamp(min=0)
    return torch.where(place < length_N1, number_N.unsqueeze(1) // power % 10, BLANK)


def held_out(pair_N2: Tensor) -> Tensor:
    """(..., N) bool: the pairs of a tenth, whichever number comes first. Every product stays below 2^63."""
    low_N, high_N = pair_N2.amin(-1), pair_N2.amax(-1)
    mixed_N = low_N * 48271 + high_N * 69621
    for constant in (12345, 67890, 13579):  # squares, since of a linear hash the pairs would lie on a lattice
        mixed_N = (mixed_N % 2147483647 + constant).square() % 2147483647
    return mixed_N % 10 == 0


@functools.lru_cache(maxsize=8)
def answer_shares(digits: int) -> Tensor:
    """(K, O) float64: how often each character stands at each place of an answer, over all pairs of numbers."""
    numbers = 10**digits
    total_S = torch.arange(2 * numbers - 1)
    share_S = (numbers - (total_S - (numbers - 1)).abs()).double() / numbers**2
    result = torch.zeros(digits + 1, len(CHARACTERS) - 1, dtype=torch.float64)
    for place, class_S in zip(result, text(total_S, digits + 1).T, strict=True):
        place.index_add_(0, class_S, share_S)
    return result


def _spelt(classes: Any) -> str:
    return "".join(CHARACTERS[one] for one in classes.tolist()).replace(" ", "_")
