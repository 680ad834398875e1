"""No dropout."""

from rnnlab.contract import component
from rnnlab.dropout.dropout import Dropout


@component
class NoDropout(Dropout):
    """Everything is kept."""
