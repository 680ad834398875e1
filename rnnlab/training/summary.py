"""What a run's summary.json says, and its manifest of the task."""

from typing import Any

from rnnlab.experiment import Experiment
from rnnlab.runs.progress import Progress
from rnnlab.tasks.task import evaluated_on


def summarised(experiment: Experiment, manifest: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """How every seed of a finished run ended."""
    metric, sessions = experiment.task.metric.name, manifest["sessions"]
    steps = sum(s.get("training_steps", 0) for s in sessions)
    seconds = sum(s.get("training_seconds", 0.0) for s in sessions)
    return {
        "run_id": manifest["run_id"],
        **of_task(experiment),
        "milestones": [f"{m:.12g}" for m in experiment.config.milestones],
        "parameters": manifest["parameters"],
        "seconds_per_step": seconds / steps if steps else None,
        "seeds": [
            {
                "seed": seed,
                "status": result.status,
                "steps_to_solve": result.steps_to_solve,
                "steps": result.steps,
                "final_eval_loss": result.final_loss,
                "best_eval_loss": result.best_loss,
                f"final_eval_{metric}": result.final_metric,
                f"best_eval_{metric}": result.best_metric,
                "milestones": result.milestones,
            }
            for seed, result in progress.results.items()
        ],
    }


def of_task(experiment: Experiment) -> dict[str, Any]:
    """What the numbers of this run mean; in the manifest too, for those who read a run before its end."""
    task = experiment.task
    return {
        "baseline": task.baseline,
        "unit": task.unit,
        "metric": task.metric.name,
        "metric_unit": task.metric.unit,
        "metric_better": task.metric.better,
        "solved_when": task.solved_when,
        "evaluated_on": evaluated_on(task, experiment.config.evaluate_examples),
    }
