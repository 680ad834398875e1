"""`python -m rnnlab` and the console script: see rnnlab.cli."""

import sys

from rnnlab.entrance import enter


def main() -> None:
    """Do what the process's arguments say, and end with its exit status."""
    enter()
    try:
        from rnnlab.cli import run_command_line
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
