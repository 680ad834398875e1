"""Bytes in words."""

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def size(number: int) -> str:
    """In a unit that fits: 1.25 GB."""
    power = max(0, (len(str(number)) - 1) // 3)
    return f"{number / 1000**power:.3g} {UNITS[power]}" if power < len(UNITS) else "over 1000 EB"
