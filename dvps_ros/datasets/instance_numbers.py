"""Instance numbers below the divisor, for data sets and trackers whose own numbers exceed it."""

from __future__ import annotations

from collections.abc import Mapping

from dvps_ros.labels import DIVISOR


def renumber(spans: Mapping[int, tuple[int, int]], most: int = DIVISOR - 1) -> dict[int, int]:
    """A number from 1 to ``most`` for each instance of one class in one sequence.

    Two instances share a number only if one ends before the other begins. Numbers up to ``most`` stay as they are.

    Parameters
    ----------
    spans : first and last frame in which each instance (a number above 0) is seen.
    most : the largest number.

    Raises
    ------
    ValueError : more than ``most`` instances at once.
    """
    numbers = {instance: instance for instance in spans if instance <= most}
    held: dict[int, list[tuple[int, int]]] = {number: [spans[number]] for number in numbers}
    beyond = sorted((span, instance) for instance, span in spans.items() if instance > most)
    for (first, last), instance in beyond:
        free = [
            number
            for number in range(1, most + 1)
            if all(last < begin or end < first for begin, end in held.get(number, ()))
        ]
        if not free:
            raise ValueError(f"more than {most} instances of one class at once")
        # prefer a number that no instance has, else the one that has been unused for longest
        ended = {n: max((end for _, end in held.get(n, ()) if end < first), default=-1) for n in free}
        number = min(free, key=lambda n: (n in held, ended[n]))
        numbers[instance] = number
        held.setdefault(number, []).append((first, last))
    return numbers
