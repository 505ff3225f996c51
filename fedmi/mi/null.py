"""Re-pairing seeds: what an estimator reads when the clients share nothing.

Tails and clusters add to an estimator's error in ways that no formula covers. Pairing client a's
sample of one seed with client b's of another keeps both clients as they are and removes whatever
they share.

Seeds are exchangeable, so any pairing without a fixed point is as good as any other. Taken here:
put the seeds in one random order, and pair seed i with seed i + s of that order (cyclically), for
shifts s = 1, 2, ..., m. A re-paired matrix is then the original one read at an offset, with
nothing to gather: rows s..s+N of an orthonormal basis that is extended by its own first m rows,
and likewise both axes of a tile of neighbour distances.
"""

from dataclasses import dataclass

import jax
import numpy as np


@dataclass(frozen=True)
class Repairing:
    """A random order of N seeds and m cyclic shifts of it.

    Attributes:
        order: (N,) the seeds in random order.
        m: the number of re-pairings; number s pairs `order[i]` with `order[(i + s) % N]`.
    """

    order: np.ndarray
    m: int

    @property
    def n(self) -> int:
        """N, the number of seeds."""
        return len(self.order)

    @property
    def shifts(self) -> range:
        """The shifts 1..m."""
        return range(1, self.m + 1)

    def extended(self, samples: np.ndarray) -> np.ndarray:
        """(N + m, p): the samples in random order, the first m again at the end."""
        return samples[np.concatenate([self.order, self.order[: self.m]])]

    def partners(self, shift: int) -> np.ndarray:
        """(N,) the seed of the second client that is paired with seed 0, 1, ... of the first."""
        partners = np.empty(self.n, int)
        partners[self.order] = np.roll(self.order, -shift)
        return partners

    @property
    def pairings(self) -> list[np.ndarray]:
        """The (N,) partners as the seeds are paired, and those of every re-pairing."""
        return [self.partners(shift) for shift in range(1 + self.m)]


def default_key(key: jax.Array | None) -> jax.Array:
    """The key, or `jax.random.key(0)`: what is drawn only measures an error, alike every time."""
    return jax.random.key(0) if key is None else key


def repairing(n: int, m: int, key: jax.Array | None = None) -> Repairing:
    """Draw m re-pairings of n seeds; raises ValueError unless m lies in 0..n-1."""
    if not 0 <= m < n:
        raise ValueError(f"permutations: {m} re-pairings of {n} samples; ask for 0 to {n - 1}")
    if not m:
        return Repairing(np.arange(n), 0)
    return Repairing(np.asarray(jax.random.permutation(default_key(key), n)), m)
