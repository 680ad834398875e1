"""How many trials of a campaign passed, and what those that did not said."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """One row of the table."""

    name: str
    tried: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, told: str, complaints: list[str], count: int = 1) -> None:
        """So many trials at once, all of which failed if one did."""
        self.tried += count
        if complaints:
            self.failures.append(f"{told}: {'; '.join(complaints)}")
        else:
            self.passed += count


def table(tallies: list[Tally]) -> str:
    """Markdown."""
    rows = [f"| {t.name} | {t.tried} | {t.passed} |" for t in tallies]
    return "\n".join(["| campaign | tried | passed |", "|---|---|---|", *rows])
