"""The study's own quantities along many rounds, and whether they tell which aggregator will gain.

All seeds go on from one download, that of a round of one seed's federated averaging: what their
clients' models have in common is then what their updates have in common, given the download.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax import Array
from scipy import stats

from fedmi.progress import tell
from fedmi.sampling.federation import federate
from fedmi.sampling.replay import design_of, objective, over_blocks, unraveller
from fedmi.sampling.sampler import finite, sample
from fedmi.stats import mean_and_error
from fedmi.study import results, trends
from fedmi.study.points import at_rate
from fedmi.study.settings import Setting, Training
from fedmi.study.training import AVERAGE, Found, federation_of, folder_of
from fedmi.tasks.task import Assets, Task

CLIENTS = 3
"""How many clients go on from one download, as in the paper."""
JUDGED = 64
"""Seeds whose loss between two clients is computed."""
REPAIRINGS = 20
COLUMNS = ["task", "setting", "round", "quantity", "value", "se"]
QUANTITIES = ("mi", "cosine", "closer", "barrier")
"""MI of the updates in bits, their cosine, by what share they are closer than those of other seeds,
and the loss barrier."""
LINK_COLUMNS = ["task", "round", "quantity", "settings", "spearman", "p_value"]


def run(plan: Training, folder: Path, found: Mapping[str, Mapping[str, Found]]) -> list[dict]:
    """The rows of `training-along.csv`; a setting that has been read is not read anew.

    Args:
        plan: the comparison.
        folder: of its results.
        found: what `fedmi.study.training.run` returned.
    """
    made = []
    for setting in plan.settings:
        if setting.attack is not None or not plan.along_seeds:
            continue  # dishonest clients train as the others do
        tell(f"{setting.name}: along the rounds")
        rate = found[setting.name][AVERAGE]["numbers"]["rate"]
        path = folder_of(folder, setting) / "along.json"
        make = partial(measure, plan, setting, rate)
        basis = dict(plan=plan.fingerprint(setting), rate=rate)
        made += results.kept(path, basis, make)
    return made


def measure(plan: Training, setting: Setting, rate: float) -> list[dict]:
    """The quantities of one setting, at a rate of the clients'."""
    before = tuple(number - 1 for number in plan.along)
    federation = federation_of(plan, setting, AVERAGE, kept=before, judged=(plan.rounds,))
    models = federate(federation, [0], dict(rate=[rate]), what="downloads")["models"][0]
    task = at_rate(federation.task, rate)
    made = []
    for number, download in zip(plan.along, models, strict=True):
        going_on = from_download(task, download)
        samples = sample(
            going_on,
            coupling=plan.coupling,
            clients=CLIENTS,
            seeds=plan.along_seeds,
            checkpoints=[task.steps],
            root_seed=plan.root_seed,
        )
        where = dict(task=plan.task, setting=setting.name, round=number)
        found = quantities(going_on, finite(samples), download)
        made += [where | dict(quantity=name) | of for name, of in found.items()]
    return made


def from_download(task: Task, download: np.ndarray) -> Task:
    """The task whose clients all start from one model (t,)."""
    unravel = unraveller(task)
    return replace(
        task,
        init=lambda keys: unravel(jnp.asarray(download)),
        streams={name: role for name, role in task.streams.items() if role != "init"},
    )


def quantities(task: Task, samples: xr.Dataset, download: np.ndarray) -> dict[str, dict]:
    """`QUANTITIES` of samples with one checkpoint, each with its standard error.

    Cosines and barriers are means over seeds, of all pairs of clients and of the first.

    Args:
        task: of which the samples are.
        samples: finite samples.
        download: (t,), where all of them started.
    """
    (row,) = trends.measure(samples, permutations=REPAIRINGS)
    updates = samples.theta.values[:, :, 0].astype(np.float64) - download
    units = updates / np.linalg.norm(updates, axis=-1, keepdims=True)
    pairs = combinations(range(units.shape[1]), 2)
    cosines = np.mean([(units[:, a] * units[:, b]).sum(axis=-1) for a, b in pairs], axis=0)
    found = dict(
        mi=dict(value=np.inf if row["infinite"] else row["net_bits"], se=row["net_se"]),
        closer=dict(
            value=1 - row["distance"] / row["unmatched"],
            se=trends.closer_error(row["distance_se"], row["unmatched"]),
        ),
    )
    for name, values in (("cosine", cosines), ("barrier", barriers(task, samples))):
        mean, error = mean_and_error(values)
        found[name] = dict(value=mean, se=error)
    return {name: found[name] for name in QUANTITIES}


def barriers(task: Task, samples: xr.Dataset) -> np.ndarray:
    """(seeds,) by how much F midway between clients 0 and 1 exceeds the mean of F at both."""
    design, clients = design_of(task, samples), samples.sizes["client"]

    def of_seed(seed: Array, thetas: Array, assets: Assets) -> Array:
        data = jax.vmap(lambda client: task.data(design.keys(seed=seed, client=client), assets))(
            jnp.arange(clients)
        )
        places = jnp.stack([thetas[0], thetas[1], (thetas[0] + thetas[1]) / 2])
        first, second, midway = jax.lax.map(lambda w: objective(task, data, w), places)
        return midway - (first + second) / 2

    @jax.jit
    def of_seeds(seeds: Array, thetas: Array, assets: Assets) -> Array:
        return jax.lax.map(lambda a: of_seed(*a, assets=assets), (seeds, thetas))

    assets = task.assets()

    def of_block(block: xr.Dataset, filled: np.ndarray) -> Array:
        return of_seeds(block.seed.values[filled], block.theta.values[filled, :, 0], assets)

    return over_blocks(of_block, samples.isel(seed=slice(JUDGED)), what="barriers")


def link_rows(along: pd.DataFrame, choice: pd.DataFrame) -> list[dict]:
    """Whether a quantity at a round goes with what the best way gains: rank correlations.

    Args:
        along: rows with `COLUMNS`.
        choice: rows of `fedmi.study.training.choice_rows`.

    Returns:
        Rows with `LINK_COLUMNS`: Spearman's correlation over settings and the p-value of its
        permutation test; none where there are fewer than five settings.
    """
    gains = choice.set_index("setting").gain / choice.set_index("setting").rise
    made = []
    for (number, name), of in along.groupby(["round", "quantity"], sort=False):
        values = of.set_index("setting").value
        both = pd.concat([values, gains], axis=1, keys=["value", "gain"], join="inner").dropna()
        if len(both) < 5 or both.value.nunique() == 1:
            continue
        made.append(
            dict(
                task=of.task.iloc[0],
                round=number,
                quantity=name,
                settings=len(both),
                spearman=_spearman(both.value, both.gain),
                p_value=_permutation_p(both),
            )
        )
    return made


def _spearman(a: Any, b: Any) -> float:
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def _permutation_p(both: pd.DataFrame) -> float:
    tested = stats.permutation_test(
        (both.value.to_numpy(),),
        lambda values: _spearman(values, both.gain),
        permutation_type="pairings",
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    return float(tested.pvalue)
