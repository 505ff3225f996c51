"""What averaging yields and what was possible: every seed's clients aggregated, and judged.

A seed's clients are trained from their keys, and so are the references that see all clients' data;
every aggregate is judged by the global objective F(w) = sum_q (n_q / n) F_q(w), the mean loss on
the clients' training data, and by loss and metric on data that are held out. What has to be learnt
from other seeds (a server step size, variances, linear rules) is fitted on seeds that are never
judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from fedmi import aggregation
from fedmi.aggregation import DOWNLOAD, MEAN, linear, matching
from fedmi.aggregation.linear import LINEAR, MAPS, LinearAggregator
from fedmi.sampling.replay import MEASURES, fisher_information, measures, objective, unraveller
from fedmi.stats import bonferroni_limit
from fedmi.study import landscape
from fedmi.study.gains import gains
from fedmi.study.methods import (
    ALONE,
    ELSEWHERE,
    ENSEMBLE,
    EXP_STEP,
    FURTHER,
    LINE,
    LONGER,
    MATCHED,
    PLANE,
    POOLED,
    REFERENCES,
    STEP,
)
from fedmi.study.oracles import STEPS, best_on_plane, best_step
from fedmi.study.states import Comparison, State
from fedmi.study.tables import groups, mean_of
from fedmi.tasks.task import Data, Params, Task

PLACES = np.linspace(0, 1, 11)
"""Places between two clients at which the loss barrier is looked for."""

COINCIDES = 0.05
"""Closer to the mean than this, relative to how far it has moved, a method is said to be it."""

COLUMNS = [
    "task", "setting", "iteration", "method", "reference", "seeds", "fitting_seeds", "non_finite",
    *(
        f"{measure}{what}"
        for measure in MEASURES
        for what in ("", "_se", "_less_mean", "_less_mean_se")
    ),
    "better", "best", "apart", "step",
]  # fmt: skip
BARRIER_COLUMNS = ["task", "setting", "iteration", "seeds", "place", "excess", "excess_se"]


@dataclass(frozen=True)
class Fitted:
    """What was learnt from other seeds, for one checkpoint.

    Attributes:
        seeds: how many they were.
        step: the server step size of the least mean objective.
        variances: (Q, t), of the clients' parameters.
        rules: the best linear aggregators, by name.
        elsewhere: (t,), the mean update from the download to the pooled solution: what is known
            without looking at the clients at all.
    """

    seeds: int
    step: float
    variances: np.ndarray
    rules: Mapping[str, LinearAggregator]
    elsewhere: np.ndarray


def aggregates(
    state: State,
    thetas: Array,
    information: Array,
    fitted: Fitted,
    matcher: Callable[[Array], Params] | None,
) -> dict[str, Array]:
    """What every aggregator makes of a seed's clients at one checkpoint, (t,) each, by name.

    Args:
        state: of the seed.
        thetas: (Q, t), the clients' parameters at the checkpoint.
        information: (Q, t), their Fisher information.
        fitted: for the checkpoint.
        matcher: (t,) -> parameters, if they are of a network whose hidden units can be matched.
    """
    weights = jnp.full(len(thetas), 1 / len(thetas))
    start = state.download
    # The same updates from one place, which FedExP takes for granted.
    moved = thetas - (state.starts - start)
    found = {
        MEAN: aggregation.weighted_mean(thetas, weights),
        "coordinate median": aggregation.coordinate_median(thetas, weights),
        "geometric median": aggregation.geometric_median(thetas, weights),
        STEP: aggregation.server_step(thetas, weights, download=start, step=fitted.step),
        EXP_STEP: aggregation.fedexp_step(moved, weights, download=start),
        "Fisher mean": aggregation.fisher_mean(thetas, weights, information=information),
        "inverse-variance mean": aggregation.inverse_variance_mean(
            thetas, weights, variances=jnp.asarray(fitted.variances, thetas.dtype)
        ),
    }
    for name, rule in fitted.rules.items():
        found[name] = jnp.asarray(rule(thetas, start), thetas.dtype)
    if matcher is not None:
        found[MATCHED] = matching.matched_mean(thetas, weights, unravel=matcher)
    return found


def ensemble(task: Task, state: State, thetas: Array) -> Array:
    """(3,): the `MEASURES` of the mean of the predictions of clients (Q, t)."""
    predict = task.ensemble
    assert predict is not None
    params = jax.vmap(unraveller(task))(thetas)
    weights = jnp.full(len(thetas), 1 / len(thetas))

    def of_client(data: Data, held_out: Data) -> Array:
        on_own = predict(params, weights, data)[0]
        return jnp.stack([on_own, *predict(params, weights, held_out)])

    return jnp.mean(jax.vmap(of_client)(state.data, state.held_out), axis=0)


def run(plan: Comparison) -> dict[str, pd.DataFrame]:
    """Everything of one setting: the tables "methods", "barrier" and "surface"."""
    fitted = fit(plan)
    rows = judge(plan, fitted)
    oracles, barriers = search(plan, fitted)
    return {
        "methods": pd.DataFrame(rows + oracles, columns=COLUMNS),
        "barrier": pd.DataFrame(barriers, columns=BARRIER_COLUMNS),
        "surface": landscape.surface(plan, plan.first_judged),
    }


def fit(plan: Comparison) -> list[Fitted]:
    """Learns from the fitting seeds what aggregators need, for every checkpoint."""
    task = plan.design.task

    def models(state: State) -> dict[str, Array]:
        return dict(download=state.download, thetas=state.thetas, target=state.longer)

    def curves(state: State) -> Array:
        def curve(thetas: Array) -> Array:
            update = jnp.mean(thetas, axis=0) - state.download
            steps = jnp.asarray(STEPS, update.dtype)
            return jax.lax.map(
                lambda s: objective(task, state.data, state.download + s * update), steps
            )

        return jax.lax.map(curve, state.thetas)

    found = plan.over(models, 0, plan.fitting_seeds, "training to fit on")
    tried = min(plan.oracle_seeds, plan.fitting_seeds)
    steps = plan.over(curves, 0, tried, "choosing the server step")
    finite = np.isfinite(found["thetas"]).all(axis=(1, 2, 3))
    finite &= np.isfinite(found["target"]).all(axis=(1, 2))
    found = {name: values[finite] for name, values in found.items()}
    fitted = []
    for k in range(len(plan.design.checkpoints)):
        thetas, target = found["thetas"][:, k], found["target"][:, k]
        rules = {
            name: linear.fit(thetas, target, found["download"], **options)
            for name, options in LINEAR.items()
        }
        curve = steps[np.isfinite(steps[:, k]).all(axis=1), k].mean(axis=0)
        fitted.append(
            Fitted(
                seeds=int(finite.sum()),
                step=float(STEPS[np.argmin(curve)]),
                variances=thetas.var(axis=0, ddof=1, dtype=np.float64),
                rules=rules,
                elsewhere=(target - found["download"]).mean(axis=0, dtype=np.float64),
            )
        )
    return fitted


def judge(plan: Comparison, fitted: Sequence[Fitted]) -> list[dict]:
    """Judges every aggregator, and the references that need no search, on the judged seeds.

    Returns:
        Rows of the table, with the columns of `COLUMNS`.
    """
    task = plan.design.task
    unravel = unraveller(task)
    matcher = unravel if matching.can_match(unravel(jnp.zeros(task.parameter_count))) else None

    def of_state(state: State) -> dict[str, dict[str, Array]]:
        def information(thetas: Array) -> Array:
            return jax.lax.map(lambda a: fisher_information(task, *a), (state.data, thetas))

        informed = jax.lax.map(information, state.thetas)
        made = []
        for k, at in enumerate(fitted):
            models = aggregates(state, state.thetas[k], informed[k], at, matcher)
            elsewhere = state.download + jnp.asarray(at.elsewhere, state.pooled.dtype)
            models |= {POOLED: state.pooled[k], LONGER: state.longer[k], ELSEWHERE: elsewhere}
            models[FURTHER] = jnp.mean(state.further[k], axis=0)
            made.append(models)
        names = list(made[0])
        models = jnp.stack([jnp.stack(list(m.values())) for m in made])  # (K, methods, t)
        mean = models[:, names.index(MEAN), None]
        moved = jnp.linalg.norm(mean - state.download, axis=2)
        starts = jnp.broadcast_to(state.starts, state.thetas.shape)
        far = [jnp.linalg.norm(of - mean, axis=2) / moved for of in (models, starts)]
        apart = dict(zip(names, jnp.moveaxis(far[0], 1, 0), strict=True))
        apart[DOWNLOAD] = jnp.mean(far[1], axis=1)
        everything = jnp.concatenate([models, state.thetas, starts], axis=1)
        values = jax.lax.map(
            lambda w: measures(task, state.data, state.held_out, w),
            everything.reshape(-1, everything.shape[2]),
        ).reshape(*everything.shape[:2], -1)
        found = dict(zip(names, jnp.moveaxis(values, 1, 0), strict=False))
        clients, starts = jnp.split(values[:, len(names) :], 2, axis=1)
        found |= {ALONE: jnp.mean(clients, axis=1), DOWNLOAD: jnp.mean(starts, axis=1)}
        if task.ensemble is not None:
            found[ENSEMBLE] = jax.lax.map(lambda t: ensemble(task, state, t), state.thetas)
        return dict(values=found, apart=apart)

    # As much longer as the server's step is, and one step at least.
    steps = zip(plan.design.checkpoints, fitted, strict=True)
    further = [max(1, round(iteration * at.step)) for iteration, at in steps]
    found = plan.over(of_state, plan.first_judged, plan.judged_seeds, "judging", further)
    return _rows(plan, fitted, **found)


def search(plan: Comparison, fitted: Sequence[Fitted]) -> tuple[list[dict], list[dict]]:
    """The oracles, and the loss between clients 0 and 1, on the first of the judged seeds.

    Returns:
        Rows of the table, with the columns of `COLUMNS`, paired with the mean on the same seeds;
        and rows with the columns of `BARRIER_COLUMNS`: by how much F exceeds, at places between two
        clients, the straight line between its values at them (Frankle et al. 2020).
    """
    task = plan.design.task

    def of_state(state: State) -> dict[str, Any]:
        def of_checkpoint(thetas: Array) -> dict[str, Any]:
            mean = jnp.mean(thetas, axis=0)
            update = mean - state.download

            def f(w: Array) -> Array:
                return objective(task, state.data, w)

            line = state.download + best_step(lambda s: f(state.download + s * update)) * update
            plane = best_on_plane(f, thetas)
            models = {MEAN: mean, LINE: line, PLANE: plane}
            places = jnp.asarray(PLACES, mean.dtype)[:, None]
            between = jax.lax.map(f, thetas[0] + places * (thetas[1] - thetas[0]))
            straight = between[0] + places[:, 0] * (between[-1] - between[0])
            moved = jnp.linalg.norm(update)
            return dict(
                values={
                    name: measures(task, state.data, state.held_out, w)
                    for name, w in models.items()
                },
                apart={name: jnp.linalg.norm(w - mean) / moved for name, w in models.items()},
                excess=between - straight,
            )

        return jax.lax.map(of_checkpoint, state.thetas)

    found = plan.over(of_state, plan.first_judged, plan.oracle_seeds, "searching")
    between = found.pop("excess")
    rows = [row for row in _rows(plan, fitted, **found) if row["method"] != MEAN]
    barriers = []
    for k in range(len(plan.design.checkpoints)):
        excess = between[np.isfinite(between[:, k]).all(axis=1), k]
        for place, values in zip(PLACES, excess.T, strict=True):
            where = plan.at(k) | dict(seeds=len(excess), place=place)
            barriers.append(where | mean_of("excess", values))
    return rows, barriers


def _rows(
    plan: Comparison,
    fitted: Sequence[Fitted],
    values: Mapping[str, np.ndarray],
    apart: Mapping[str, np.ndarray],
) -> list[dict]:
    """Means over seeds and paired differences from the mean of the clients.

    Args:
        values: by method, (seeds, K, 3).
        apart: by method, (seeds, K).
    """
    good = np.all([np.isfinite(v).all(axis=(1, 2)) for v in values.values()], axis=0)
    n = int(good.sum())
    if n < 2:
        raise ValueError(
            f"setting {plan.setting}: {n} of {len(good)} seeds are finite; lower the task's "
            "learning rate or clip its gradients"
        )

    rows = []
    for k in range(len(plan.design.checkpoints)):
        at = {name: np.asarray(v[good, k], np.float64) for name, v in values.items()}
        rivals = [name for name in at if name not in REFERENCES]
        least = np.min([at[name][:, 0] for name in rivals], axis=0)
        for name, own in at.items():
            row = plan.at(k) | dict(
                method=name,
                reference=name in REFERENCES,
                seeds=n,
                fitting_seeds=fitted[k].seeds,
                non_finite=len(good) - n,
                better=(own[:, 0] < at[MEAN][:, 0]).mean(),
                best=(own[:, 0] <= least).mean() if name in rivals else np.nan,
                apart=apart[name][good, k].mean() if name in apart else np.nan,
                step=fitted[k].step if name in (STEP, FURTHER) else np.nan,
            )
            for i, measure in enumerate(MEASURES):
                less = own[:, i] - at[MEAN][:, i]
                row |= mean_of(measure, own[:, i]) | mean_of(f"{measure}_less_mean", less)
            rows.append(row)
    return rows


def best_aggregator(rows: pd.DataFrame, limit: float) -> pd.Series | None:
    """Of the methods that only weigh what the clients say, the least F that is beyond chance.

    Args:
        rows: of one setting and checkpoint.
        limit: how many standard errors below the mean of the clients count.

    Returns:
        Its row, None if no method is so far below the mean of the clients.
    """
    of = rows.loc[~rows.reference & ~rows.method.isin([MEAN, *MAPS])]
    of = of.loc[of.objective_less_mean < -limit * of.objective_less_mean_se]
    return None if of.empty else of.loc[of.objective_less_mean.idxmin()]


def facts(table: pd.DataFrame) -> dict:
    """What the page "aggregation" says.

    A difference counts if it is beyond chance at any of all rows (Bonferroni, 5 %).

    Args:
        table: rows with `COLUMNS`, of one task.
    """
    table = table.reset_index(drop=True)
    limit, last = bonferroni_limit(len(table)), table.iteration.max()
    return dict(
        last=last,
        judged=table.seeds.max(),
        oracles=table.seeds.min(),
        coincides=COINCIDES,
        elsewhere=ELSEWHERE,
        settings=[
            dict(setting=setting, **_of_setting(of, last, limit))
            for setting, of in groups(table, "setting")
        ],
    )


def _of_setting(of: pd.DataFrame, last: int, limit: float) -> dict:
    """At the last iteration all methods; at each a client alone and the best other aggregator."""
    final = of.loc[of.iteration == last].assign(map=of.method.isin(MAPS))
    others = final.loc[final.method != MEAN]
    courses = []
    for iteration, rows in of.groupby("iteration"):
        best = best_aggregator(rows, limit)
        courses.append(
            dict(
                iteration=iteration,
                alone=rows.loc[rows.method == ALONE].iloc[0].to_dict(),
                best=None if best is None else best.to_dict(),
            )
        )
    return dict(
        mean=final.loc[final.method == MEAN].iloc[0].to_dict(),
        gains=gains(final),
        step=float(final.step[final.method == STEP].iloc[0]),
        methods=others.sort_values(["reference", "map", "objective_less_mean"]).to_dict("records"),
        courses=courses,
        same=others.method[~others.reference & (others.apart < COINCIDES)].to_list(),
    )
