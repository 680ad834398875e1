"""The training loop and what it stands on: population, evaluation, checkpoints, data streams."""
