"""Long-dependency tasks: data, loss, memoryless baseline, and when the task counts as solved."""
