"""`make campaign SEED=7 TRIALS=100`: kills and damage for some minutes, and a table of what passed.

Exit status: 0 all passed; 1 not all.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaign.fuzz import fuzz
from campaign.kills import builders, solo, sweep
from campaign.table import Tally, table

CAMPAIGNS: dict[str, Callable[[int, int], list[Tally]]] = {
    "fuzz": lambda seed, trials: fuzz(seed, 10 * trials),
    "solo": lambda seed, trials: [solo(seed, trials)],
    "sweep": lambda seed, trials: [sweep(seed, max(1, trials // 2))],
    "builders": lambda seed, trials: [builders(seed, max(1, trials // 5))],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=20, help="kills of single runs; ten times as many folders")
    parser.add_argument("--only", choices=CAMPAIGNS, action="append", help="may be given again")
    arguments = parser.parse_args()
    tallies = []
    for name in arguments.only or CAMPAIGNS:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            tallies += CAMPAIGNS[name](arguments.seed, arguments.trials)
            os.chdir("/")
        print(table(tallies[-4:] if name == "fuzz" else tallies[-1:]), flush=True)
    failures = [f"{tally.name}: {failure}" for tally in tallies for failure in tally.failures]
    print("\n".join([f"\nseed {arguments.seed}", table(tallies), *failures]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
