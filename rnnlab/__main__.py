"""`python -m rnnlab`: see rnnlab.cli."""

import sys

try:
    from rnnlab.cli import main
except KeyboardInterrupt:
    sys.exit(130)

main()
