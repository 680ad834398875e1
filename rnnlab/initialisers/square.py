"""What the initialisers of square weights share."""

from typing import ClassVar

from rnnlab.plan import Plan, Refusal


class ForSquareWeights:
    """Base of an initialiser for square blocks only."""

    symmetric: ClassVar[bool] = False
    """Whether what it draws is symmetric."""

    def why_not(self, plan: Plan) -> Refusal:
        return self.not_square(plan)

    def not_square(self, plan: Plan) -> str | None:
        """Why it has no square weights to draw here; for a `why_not` that has more to say."""
        if plan.key != "initialiser":
            return "It is for square weights, as recurrent ones are"
        if plan.cell.blocks and not plan.cell.square:
            return f"It is for square weights, and the recurrent ones of {plan.chosen('cell')} are not"
        # With W - W', say, nothing is left of a symmetric draw.
        if self.symmetric and plan.cell.square and not plan.cell.multiplies:
            return f"{plan.chosen('cell')} has no recurrent weights that act as they are drawn"
        return None
