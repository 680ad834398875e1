"""python -m rnnlab.example task=copy task.length=20: draw one example of a task as text.

Takes the command line of `python -m rnnlab`; the example is the first of the first seed.
"""

import sys

if __name__ == "__main__":
    from rnnlab.import_path import leave_current_folder

    leave_current_folder()

from rnnlab.cli import run_command_line
from rnnlab.schema import Config


def show(config: Config) -> None:
    """Print what the task is and one input/target pair."""
    from rnnlab.build import make
    from rnnlab.streams import generator

    task = make("task", config.components["task"], config.allowed_packages)
    sizes = f"{task.steps} steps, {task.inputs} inputs, {task.outputs} outputs, {task.scored} scored"
    print(f"{config.option('task')}: {sizes}")
    print(f"baseline {task.baseline:.4g} {task.unit}; solved when {task.solved_when}")
    print(task.describe(generator(config.seeds[0], "example")))


if __name__ == "__main__":
    sys.exit(run_command_line(sys.argv[1:], show))
