"""The clients of a checkpoint as sources to be coded: their laws, and what one tells of another."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import jax
import numpy as np
import xarray as xr

from fedmi.mi.null import repairing
from fedmi.scopes import root_key
from fedmi.study import rate_distortion
from fedmi.study.rate_distortion import Law, SideInformation

LEVELS = 3.0 ** -np.arange(11, -1, -1)  # water levels, of the largest variance
REPAIRINGS = 4


@dataclass(frozen=True)
class Sources:
    """The clients of a checkpoint as sources to be coded.

    Attributes:
        laws: of each client.
        one: what the next client tells about each; None where there are too few seeds.
        others: what all other clients together tell about each; None likewise.
        mi: "one" or "others" -> the Gaussian MI in bits with its error, the mean over clients; what
            there are too few seeds for is left out.
        crosses: of each and the next client (`rate_distortion.cross_correlations`).
        n: seeds that they are fitted on.
    """

    laws: list[Law]
    one: list[SideInformation] | None
    others: list[SideInformation] | None
    mi: Mapping[str, np.ndarray]
    crosses: list[np.ndarray]
    n: int

    @property
    def levels(self) -> np.ndarray:
        """The water levels that are tried, ascending to where nothing is sent."""
        return LEVELS * max(law.variances.max() for law in self.laws)


def fit(samples: xr.Dataset, iteration: int) -> Sources:
    """Fits the laws of a checkpoint, alone and given other clients.

    Args:
        samples: finite samples (`fedmi.finite`), others than those that are evaluated.
        iteration: the checkpoint.

    Raises:
        ValueError: if a client does not vary beyond rounding.
    """
    at = samples.theta.sel(iteration=iteration)
    clients = [at.sel(client=q).values for q in samples.client.values]
    count, n = len(clients), samples.sizes["seed"]
    if n < 2 * REPAIRINGS:
        raise ValueError(
            f"samples: {n} seeds are too few to fit a law; take more, or evaluate fewer"
        )
    key = root_key(samples.attrs["root_seed"])
    pairing = repairing(n, REPAIRINGS, jax.random.fold_in(key, iteration))
    fits = [rate_distortion.fit(x, f"client {q}") for q, x in enumerate(clients)]
    laws = [fit.law for fit in fits]
    crosses = {
        (a, b): rate_distortion.cross_correlations(fits[a], fits[b], pairing)
        for a, b in permutations(range(count), 2)
    }
    following = [crosses[q, (q + 1) % count] for q in range(count)]
    sides, mi = {}, {}
    for name, of in (
        ("one", following),
        ("others", [_of_all_others(crosses, q, count) for q in range(count)]),
    ):
        if all(rate_distortion.enough_seeds(cross, n) for cross in of):
            sides[name] = [
                rate_distortion.side_information(law.variances, cross, n)
                for law, cross in zip(laws, of, strict=True)
            ]
            mi[name] = np.mean([rate_distortion.mutual_information(c, n) for c in of], axis=0)
    return Sources(laws, sides.get("one"), sides.get("others"), mi, following, n)


def _of_all_others(crosses: Mapping[tuple[int, int], np.ndarray], q: int, count: int) -> np.ndarray:
    """(1 + m, r_q, rank) correlations of client q with all others taken as one."""
    rest = [k for k in range(count) if k != q]
    within = np.block(
        [
            [np.eye(crosses[a, q].shape[1]) if a == b else crosses[a, b][0] for b in rest]
            for a in rest
        ]
    )
    return rate_distortion.jointly([crosses[q, k] for k in rest], within)
