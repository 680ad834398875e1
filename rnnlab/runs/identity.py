"""What determines a run, and the name that follows from it."""

import hashlib
import json

from rnnlab.schema import YOUNGER, Config

# These choose where results go, how often they are saved, or how time and memory are spent; they change no result.
# match_parameters has, by then, become a cell.hidden.
IGNORED = ("name", "force", "checkpoint", "tensorboard", "threads", "recompute", "match_parameters")


def technique(config: Config) -> str:
    """The choices that a reader compares: task-cell-activation-initialiser[-...]-clipping[-...]-optimiser.

    Groups in brackets are named where the choice is not `none`.
    """
    groups = (
        *("task", "cell", "activation", "initialiser", "parametrisation", "regulariser", "dropout"),
        *("clipping", "gradient_noise", "adjoint", "optimiser"),
    )
    chosen = [group for group in groups if group not in (*YOUNGER, "adjoint") or config.option(group) != "none"]
    return "-".join(config.option(group) for group in chosen)


def run_id(config: Config, *, device: str, engine: str) -> str:
    """The technique and eight hexadecimal digits of a hash over everything that determines the results.

    Args:
        device: the kind that will be used, `cpu` or `cuda`, whatever `device=auto` was resolved to.
        engine: likewise.
    Raises:
        ValueError: cell.hidden is still to be chosen (match_parameters); `rnnlab.build.build` does that.
    """
    if config.match_parameters is not None:
        raise ValueError("match_parameters: build the experiment first; its configuration has the cell.hidden chosen.")
    determining = {key: value for key, value in config.resolved().items() if key not in IGNORED}
    if determining["precision"] == "ieee":
        del determining["precision"]  # younger than the runs that there are, all of which are that
    for group in YOUNGER:
        if config.shipped(group) == "none":
            del determining[group]  # likewise
    determining |= {"device": device, "engine": engine}
    text = json.dumps(determining, sort_keys=True)
    return f"{technique(config)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
