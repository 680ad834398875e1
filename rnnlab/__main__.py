"""`python -m rnnlab`: see rnnlab.cli."""

import sys

from rnnlab.import_path import leave_current_folder

leave_current_folder()
try:
    from rnnlab.cli import main
except KeyboardInterrupt:
    sys.exit(130)

main()
