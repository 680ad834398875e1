"""`python -m rnnlab` and the console script: see rnnlab.cli."""

import sys

from rnnlab.entrance import STATUS, UNTRAINED, enter


def main() -> None:
    """Do what the process's arguments say, and end with its exit status."""
    try:
        enter()
        from rnnlab.interruption import listening

        with listening("Stopping …"):
            from rnnlab.cli import run_command_line

            status = run_command_line(sys.argv[1:])
    except KeyboardInterrupt:  # before it was listened to, or twice, while things are imported
        print(f"rnnlab: {UNTRAINED}", file=sys.stderr)
        status = STATUS
    sys.exit(status)


if __name__ == "__main__":
    main()
