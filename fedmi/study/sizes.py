"""The smallest effects that would matter, and whether an estimate is surely of that size.

A claim says that an effect is at least of a size. It *holds* where the effect is surely larger,
*fails* where it is surely smaller, though it may be above zero, and is *open* otherwise.
"""

from fedmi.stats import Z95, sign

HOLDS, OPEN, FAILS = "holds", "open", "fails"
INFINITE = "infinite"
"""Of an infinite reading no trend can be told."""
CHAOTIC, REFUSED = "chaotic", "refused"
"""Readings of chaotic training, and those that the estimators refused, tell nothing either."""

BITS = 0.1
"""Of MI and its rise, in bits: by Pinsker's inequality nobody who is shown two clients can then
tell in more than 59 % of cases whether they are of one seed."""
DISTANCE = 0.02
"""Of a change of a distance, as a share of it."""
FALL = 0.02
"""Of what one model is better than another by, as a share of what F fell from download to mean."""
VARIATION = 0.1
"""By how much the noise's variance varies with what is shared, for an additive model to be wrong: a
server that takes it for constant weighs wrongly by so much, and loses its square, 1 %."""
SAVED = 0.05
"""Of the bits of an upload that a code of two clients saves, as a share."""


def told(effect: float, error: float, size: float, limit: float = Z95) -> str:
    """Whether a claim holds, fails or is open.

    Args:
        effect: that was measured.
        error: its standard error.
        size: the smallest that matters.
        limit: how many standard errors are beyond chance.
    """
    return {"yes": HOLDS, "no": FAILS, "open": OPEN}[sign(effect - size, error, limit)]


def any_of(*outcomes: str) -> str:
    """Whether a part of it holds: it fails where all do."""
    return next((of for of in (HOLDS, OPEN) if of in outcomes), FAILS)


def all_of(*outcomes: str) -> str:
    """Whether all of it holds: it fails where a part does."""
    return min(outcomes, key=(REFUSED, CHAOTIC, FAILS, INFINITE, OPEN, HOLDS).index)
