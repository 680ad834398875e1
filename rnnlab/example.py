"""python -m rnnlab.example task=copy task.length=20: draw one example of a task as text.

Takes the command line of `python -m rnnlab`; the example is the first of the first seed.
"""

import sys

if __name__ == "__main__":
    from rnnlab.entrance import enter

    enter()

from rnnlab.cli import run_command_line
from rnnlab.config import Config
from rnnlab.contract import ConfigError

LONGEST = 100_000
"""Steps of a sequence that somebody may still want to read."""


def show(config: Config) -> None:
    """Print what the task is and one input/target pair.

    Raises:
        ConfigError: that would be too long, or the task makes no sense.
    """
    from rnnlab.make import make
    from rnnlab.plan import Plan, ask
    from rnnlab.streams import generator

    task = make("task", config.components["task"], config.allowed_packages)
    if task.steps > LONGEST:
        numbers = {key: value for key, value in config.components["task"].items() if type(value) is int}
        key = max(numbers, key=lambda name: numbers[name])
        raise ConfigError(
            f"task.{key}={numbers[key]}: not allowed. A sequence of {task.steps} steps is too long to be drawn; "
            f"at most {LONGEST}."
        )
    ask(Plan(config, {"task": task}), "task")  # what its source alone did not tell
    sizes = f"{task.steps} steps, {task.inputs} inputs, {task.outputs} outputs, {task.scored} scored"
    print(f"{config.option('task')}: {sizes}")
    print(f"baseline {task.baseline:.4g} {task.unit}; solved when {task.solved_when}")
    print(task.describe(generator(config.seeds[0], "example")))


if __name__ == "__main__":
    sys.exit(run_command_line(sys.argv[1:], show))
