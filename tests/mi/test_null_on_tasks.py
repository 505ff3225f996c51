"""Re-pairing by shifts against re-pairing at random, on samples of both tasks.

Shifts of one random order use every seed as a query point, so that nothing has to be scaled from a
subset; that they spread as permutations drawn anew do is what this shows where it matters: hubs
correlate the local terms of Eq. 6, and heavy tails widen the Gaussian estimate.
"""

import jax
import numpy as np
import pytest

import fedmi
from fedmi.study import params

TASKS = ("signal", "digits")
REPAIRINGS = 40


@pytest.fixture(scope="module")
def clients():
    """Two clients' parameters after the epoch, by task."""
    tasks = {name: params.load(f"params/quick/{name}.yaml").make_task() for name in TASKS}
    samples = {
        name: fedmi.sample(task, seeds=256, checkpoints=[1, 20]) for name, task in tasks.items()
    }
    return {name: [data.theta.values[:, q, 1] for q in range(2)] for name, data in samples.items()}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_shifts_spread_as_full_re_pairings_do(clients, task):
    x, y = clients[task]
    shifted = fedmi.mi.permutation_null(x, y, estimator="ksg", m=REPAIRINGS, key=jax.random.key(0))
    draw = np.random.default_rng(0)
    full = np.array([fedmi.mi.ksg(x, y[draw.permutation(len(y))]).bits for _ in range(REPAIRINGS)])
    error = np.hypot(shifted.std(ddof=1), full.std(ddof=1)) / np.sqrt(REPAIRINGS)
    assert abs(shifted.mean() - full.mean()) < 4 * error
    # The 0.1 % points of F with 39 and 39 degrees of freedom are 1 / 2.8 and 2.8.
    assert 1 / 2.8 < (shifted.std() / full.std()) ** 2 < 2.8
