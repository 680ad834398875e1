"""`python -m rnnlab`: see rnnlab.cli."""

from rnnlab.cli import main

main()
