"""Campaigns against what has been built: kills, signals and damage, as many as there is time for. `make campaign`."""
