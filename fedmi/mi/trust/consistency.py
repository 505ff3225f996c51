"""Does an estimator contradict itself on the user's own samples?

Mutual information obeys laws that need no truth to be checked. An estimate that breaks one by more
than its error is wrong on these samples, whatever it reads on others (the self-consistency tests of
Song and Ermon, "Understanding the Limitations of Variational Mutual Information Estimators", ICLR
2020).
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fedmi.mi.null import default_key
from fedmi.mi.pairwise import estimate_pair
from fedmi.mi.result import PairEstimate
from fedmi.mi.samples import as_pair, centred, standardised


def _rotated(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A random rotation of all components."""
    orthogonal = np.linalg.qr(draw.standard_normal((x.shape[1], x.shape[1])))[0]
    return (x @ orthogonal).astype(x.dtype)


def _rescaled(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Every component in other units, over two decades."""
    return (x * 10 ** draw.uniform(-1, 1, x.shape[1])).astype(x.dtype)


def _bent(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """asinh of every component in units of its spread: monotone, so invertible."""
    return np.arcsinh(standardised(x, "the samples")).astype(x.dtype)


def _varying(x: np.ndarray) -> np.ndarray:
    """x without idle components, which say nothing but, mixed into others, take their digits."""
    varies = centred(x).spread > 0
    return x[:, varies] if varies.any() else x


INVARIANCES = {
    "rotation of the components": _rotated,
    "units of the components": _rescaled,
    "asinh of the components": _bent,
}
"""Maps of single clients' samples that leave MI as it is."""


def promises(estimator: str, options: Mapping[str, Any]) -> set[str]:
    """The laws that an estimator's formula obeys on any samples whatever."""
    symmetry, (rotation, units, bent) = "symmetry", INVARIANCES
    if estimator == "gaussian":
        return {symmetry, rotation, units}
    scale = options.get("scale", "raw")
    if estimator == "gaussian_copula" or (estimator == "ksg" and scale == "scores"):
        return {symmetry, units, bent}
    if estimator == "ksg" and scale == "standardised":
        return {symmetry, units}
    if estimator == "ksg":
        return {symmetry, rotation} if options.get("metric") != "chebyshev" else {symmetry}
    return set()


def self_consistency(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimator: str = "gaussian",
    permutations: int = 20,
    key: jax.Array | None = None,
    **options,
) -> pd.DataFrame:
    """Holds an estimator to the laws of mutual information on the samples at hand.

    - symmetry: I(x, y) = I(y, x);
    - data processing: half of the components of x, drawn at random, hold no more than all;
    - additivity: of two independent copies of (x, y) side by side, twice I(x, y). The second copy
      is the same samples in another order;
    - invariance under rotations, changes of units and monotone maps of the components of x and y.

    Args:
        permutations: re-pairings behind every estimate, at least 2.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        **options: of the estimator.

    Returns:
        One row a law: `left_bits` and `right_bits` (for data processing and additivity net of their
        means over re-pairings), what the law `says` of them ("=" or "<="), the standard `error` of
        their difference under re-pairing, whether the estimator's formula obeys it on any samples
        (`promised`), and whether it `holds` within three errors (and a millibit).

    Raises:
        ValueError: what the estimator refuses; additivity needs room for twice the dimensions.
    """
    if permutations < 2:
        raise ValueError(f"permutations: {permutations} is below 2, which leave no error")
    x, y = (_varying(a) for a in as_pair(x, y))
    if x.shape[1] < 2:
        raise ValueError(
            "x has one component that varies; data processing needs two, to drop one of them"
        )
    repair_key, draw_key = jax.random.split(default_key(key))
    draw = np.random.default_rng(np.asarray(jax.random.key_data(draw_key)))

    def estimate(x: np.ndarray, y: np.ndarray) -> PairEstimate:
        return estimate_pair(x, y, estimator, permutations=permutations, key=repair_key, **options)

    whole = estimate(x, y)
    half = np.sort(draw.permutation(x.shape[1])[: x.shape[1] // 2])
    # Not by half of the seeds: a row and its partner would then meet a second time, mirrored.
    other = np.roll(np.arange(len(x)), len(x) // 3)
    twice = estimate(np.hstack([x, x[other]]), np.hstack([y, y[other]]))
    unchanged = {"symmetry": estimate(y, x)} | {
        name: estimate(apply(x, draw), apply(y, draw)) for name, apply in INVARIANCES.items()
    }
    # What re-pairing reads differs between two orders of the same seeds; where both sides read the
    # same samples there is nothing to take off.
    rows = [
        ("data processing, half of x", "<=", estimate(x[:, half], y), 1, True),
        ("additivity, two copies", "=", twice, 2, True),
        *((name, "=", changed, 1, False) for name, changed in unchanged.items()),
    ]
    promised = promises(estimator, options)
    found = pd.DataFrame(
        dict(
            law=law,
            says=says,
            left_bits=left.net_bits if net else left.estimate.bits,
            right_bits=copies * (whole.net_bits if net else whole.estimate.bits),
            error=np.hypot(left.perm_sd, copies * whole.perm_sd),
            promised=law in promised,
        )
        for law, says, left, copies, net in rows
    )
    excess = found.left_bits - found.right_bits
    excess = excess.where(found.says == "<=", excess.abs())
    return found.assign(holds=excess <= 3 * found.error + 1e-3)
