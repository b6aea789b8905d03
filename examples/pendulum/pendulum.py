"""Writes pendulum.csv: the period of a pendulum by its length and by how far it swings.

The period is that of the exact integral, by the arithmetic-geometric mean. The same call writes the
same bytes: python3 examples/pendulum/pendulum.py > examples/pendulum/pendulum.csv
"""

import math
import random

GRAVITY = 9.80665


def period(length: float, angle: float) -> float:
    """In seconds, of a length in metres that swings up to an angle in radians."""
    a, b = 1.0, math.cos(angle / 2)
    while abs(a - b) > 1e-15:
        a, b = (a + b) / 2, math.sqrt(a * b)
    return 2 * math.pi * math.sqrt(length / GRAVITY) / a


def main() -> None:
    chance = random.Random(7)
    print("length,angle,period")
    for _ in range(600):
        length, angle = chance.uniform(0.1, 4.0), chance.uniform(0.05, 2.5)
        print(f"{length:.4f},{angle:.4f},{period(length, angle):.5f}")


main()
