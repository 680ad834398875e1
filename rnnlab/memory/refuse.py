"""The refusal of what needs more memory than there is: which number is to blame, and what would fit."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from rnnlab.config import Config
from rnnlab.contract import ConfigError
from rnnlab.memory.available import Room
from rnnlab.memory.need import Need, Sketch, needed
from rnnlab.memory.size import size


def refuse_needy(config: Config, sketch: Callable[[Config], Sketch], room: Room) -> Need:
    """What the run of a configuration needs.

    Args:
        sketch: of a configuration.
        room: what there is.
    Raises:
        ConfigError: that is less. The message names the number to blame: where one alone would do with a smaller
            value, that, and of several such the largest.
    """

    def need(changed: Config) -> Need:
        return needed(sketch(changed), room)

    found = need(config)
    if found.fits:
        return found
    most = found.largest
    alone = most.bytes > room.left
    took = f"{most.what[0].upper()}{most.what[1:]} alone" if alone else f"The run, most of all {most.what},"
    why = f"{took} would take {size(most.bytes if alone else found.bytes)}, {room.whose} {size(room.bytes)}"
    numbers = sorted(_numbers(config), key=lambda number: -number[1])
    for key, value, changed in numbers:
        fits = _largest(value, lambda number, changed=changed: need(changed(number)).fits)
        if fits:
            raise ConfigError(f"{key}={value}: not allowed here. {why}; about {_rounded(fits)} would fit.")
    matter = [f"{k}={v}" for k, v, changed in numbers if need(changed(1)).bytes < found.bytes / 2]
    raise ConfigError(f"{', '.join(matter)}: not allowed here. {why}.")


def _numbers(config: Config) -> Iterator[tuple[str, int, Callable[[int], Config]]]:
    """Every whole number above 1 of a configuration: its key, itself, and the configuration with another."""
    yield "seeds", len(config.seeds), lambda number: replace(config, seeds=config.seeds[:number])
    yield "evaluate.examples", config.evaluate_examples, lambda number: replace(config, evaluate_examples=number)
    for group, keys in config.components.items():
        for key, value in keys.items():
            if isinstance(value, int) and value > 1:

                def changed(number: int, group: str = group, key: str = key) -> Config:
                    parts = config.components
                    return replace(config, components={**parts, group: {**parts[group], key: number}})

                yield f"{group}.{key}", value, changed


def _largest(value: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `value` that fits; 0 where none does. A number that a component refuses does not."""

    def holds(number: int) -> bool:
        try:
            return fits(number)
        except ConfigError:
            return False

    low, high = 0, value
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rounded(number: int) -> int:
    """Down to two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit
