"""Hydra's launchers and sweepers of rnnlab. Thin: the work is in rnnlab.sweep. Imports nothing that takes time."""
