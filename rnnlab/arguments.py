"""Arguments of the tools beside the run itself: `rnnlab.report`, `rnnlab.diagnose`, `rnnlab.bench`, …"""

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, instead of argparse's usage text. Exit status 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)
