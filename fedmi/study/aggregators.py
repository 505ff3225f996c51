"""What averaging yields and what was possible: every seed's clients aggregated, and judged.

A seed's clients are trained from their keys, and so are the references that see all clients' data;
every aggregate is judged by the global objective F(w) = sum_q (n_q / n) F_q(w), the mean loss on
the clients' training data, and by loss and metric on data that are held out. What has to be learnt
from other seeds (a server step size, variances, linear rules) is fitted on seeds that are never
judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi import aggregation, scopes
from fedmi.aggregation import MEAN, linear, matching
from fedmi.aggregation.linear import LINEAR, MAPS, LinearAggregator
from fedmi.progress import track
from fedmi.sampling.replay import (
    MEASURES,
    draw,
    fisher_information,
    measures,
    objective,
    unraveller,
)
from fedmi.sampling.sgd import train_on
from fedmi.sampling.tiles import TILE, block_size, compute_tiles
from fedmi.stats import bonferroni_limit, mean_and_error
from fedmi.study.kinds import Aggregation
from fedmi.tasks.task import Assets, Data, Params, Task

MATCHED = "matched mean"
ALONE, ENSEMBLE = "each client alone", "ensemble of predictions"
POOLED, LONGER = "pooled data, same steps", "pooled data, all clients' steps"
ELSEWHERE = "other seeds' pooled solution"
LINE, PLANE = "oracle: server step", "oracle: plane of the clients"
REFERENCES = (ALONE, ENSEMBLE, POOLED, LONGER, ELSEWHERE, LINE, PLANE)

STEPS = np.r_[0.0, 2 ** np.arange(-3, 6.5, 0.5)]
"""Server step sizes tried, from none to 64 times what the clients went."""

PROBE, FARTHEST, NEWTON_STEPS = 0.125, 2.0, 4
"""On the plane, in units of the clients' root mean square distance from their mean: of the
differences behind derivatives, the longest step, and how many steps."""

COINCIDES = 0.05
"""Closer to the mean than this, relative to how far it has moved, a method is said to be it."""

SEGMENT = np.linspace(0, 1, 11)
"""Places between two clients at which the loss barrier is looked for."""

COLUMNS = [
    "task", "setting", "iteration", "method", "reference", "seeds", "fitting_seeds", "non_finite",
    *(
        f"{measure}{what}"
        for measure in MEASURES
        for what in ("", "_se", "_less_mean", "_less_mean_se")
    ),
    "better", "best", "apart",
]  # fmt: skip
BARRIER_COLUMNS = ["task", "setting", "iteration", "seeds", "place", "excess", "excess_se"]


class State(NamedTuple):
    """What one seed has: K checkpoints of Q clients with t parameters.

    Attributes:
        data, held_out: of all clients, arrays (Q, examples, ...).
        download: (t,), where the clients started, their mean if each started elsewhere.
        thetas: (K, Q, t), the clients' parameters.
        pooled: (K, t), what training on the clients' data together reaches in as many steps.
        longer: (K, t), and in as many steps as all clients took together.
    """

    data: Data
    held_out: Data
    download: Array
    thetas: Array
    pooled: Array
    longer: Array


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


def state_of(
    task: Task,
    coupling: Mapping[str, str],
    clients: int,
    checkpoints: Sequence[int],
    held_out_examples: int | None = None,
) -> Callable[[Array, Array, Assets], State]:
    """The function (root key, seed, assets) that trains a seed's clients, and pooled references.

    Pooled training takes its order, dropout and, where every client has its own, its download from
    the keys of one client more.

    Args:
        task: with held-out data.
        coupling: stream -> scope.
        clients: number of clients Q, whose data are equally many.
        checkpoints: iterations of the epoch.
        held_out_examples: how many of its held-out data a client keeps, the first; all by default.
    """
    kept = np.asarray(checkpoints)
    longer = sorted({*kept, *(clients * kept)})
    together = replace(task, examples=clients * task.examples)

    def trained(root: Array, seed: Array, assets: Assets) -> State:
        def keys_of(client: Array | int) -> Mapping[str, Array]:
            return scopes.client_keys(root, coupling, seed=seed, client=client)

        def one(client: Array) -> tuple[Data, Data, Array, Array]:
            keys = keys_of(client)
            data, held_out = draw(task, keys, assets, held_out_examples)
            download = ravel_pytree(task.init(keys))[0]
            return data, held_out, download, train_on(task, keys, data, checkpoints=checkpoints)[0]

        data, held_out, downloads, thetas = jax.vmap(one)(jnp.arange(clients))
        pool = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), data)
        pooled = train_on(together, keys_of(clients), pool, checkpoints=longer)[0]
        return State(
            data=data,
            held_out=held_out,
            download=jnp.mean(downloads, axis=0),
            thetas=jnp.swapaxes(thetas, 0, 1),
            pooled=pooled[np.searchsorted(longer, kept)],
            longer=pooled[np.searchsorted(longer, clients * kept)],
        )

    return trained


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
    found = {
        MEAN: aggregation.weighted_mean(thetas, weights),
        "coordinate median": aggregation.coordinate_median(thetas, weights),
        "geometric median": aggregation.geometric_median(thetas, weights),
        "server step": aggregation.server_step(thetas, weights, download=start, step=fitted.step),
        "Fisher mean": aggregation.fisher_mean(thetas, weights, information=information),
        "inverse-variance mean": aggregation.inverse_variance_mean(
            thetas, weights, variances=jnp.asarray(fitted.variances, thetas.dtype)
        ),
    }
    for name, rule in fitted.rules.items():
        found[name] = rule(thetas, start).astype(thetas.dtype)
    if matcher is not None:
        found[MATCHED] = matching.matched_mean(thetas, weights, unravel=matcher)
    return found


def ensemble(task: Task, state: State, thetas: Array) -> Array:
    """(3,): the `MEASURES` of the mean of the predictions of clients (Q, t)."""
    params = jax.vmap(unraveller(task))(thetas)
    weights = jnp.full(len(thetas), 1 / len(thetas))

    def of_client(data: Data, held_out: Data) -> Array:
        on_own = task.ensemble(params, weights, data)[0]
        return jnp.stack([on_own, *task.ensemble(params, weights, held_out)])

    return jnp.mean(jax.vmap(of_client)(state.data, state.held_out), axis=0)


def best_step(f: Callable[[Array], Array]) -> Array:
    """The least of a function of a step size: the best of `STEPS`, and then twice between those."""
    steps = jnp.asarray(STEPS, jnp.float32)

    def least(steps: Array) -> tuple[Array, Array]:
        values = jax.lax.map(f, steps)
        at = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
        last = len(steps) - 1
        return steps[at], steps[jnp.array([jnp.maximum(at - 1, 0), jnp.minimum(at + 1, last)])]

    best, ends = least(steps)
    for _ in range(2):
        inner = jnp.linspace(ends[0], ends[1], 9)
        best, ends = least(jnp.sort(jnp.append(inner, best)))
    return best


def best_on_plane(f: Callable[[Array], Array], thetas: Array) -> Array:
    """(t,): the least of a function on the affine hull of points (Q, t), sought from their mean.

    Newton's method on the hull, with derivatives from differences and the curvature's absolute
    value: it needs nothing of the function but its values, and never ends above where it began.
    """
    mean = jnp.mean(thetas, axis=0)
    axes = jnp.linalg.qr((thetas[1:] - thetas[0]).T)[0].T
    scale = jnp.sqrt(jnp.mean(jnp.sum((thetas - mean) ** 2, axis=1)))  # one unit on the hull
    d = len(axes)
    unit = np.eye(d, dtype=np.float32)
    pairs = [(i, j) for i in range(d) for j in range(i + 1, d)]
    crossed = [unit[i] + unit[j] for i, j in pairs]
    around = PROBE * np.stack([0 * unit[0], *unit, *-unit, *crossed])
    lengths = np.float32([0.0, 0.25, 0.5, 1.0, 2.0])

    def at(place: Array) -> Array:
        value = f(mean + scale * place @ axes)
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    def newton(place: Array, _: None) -> tuple[Array, None]:
        values = jax.lax.map(at, place + around)
        here, up, down = values[0], values[1 : d + 1], values[d + 1 : 2 * d + 1]
        slope = (up - down) / (2 * PROBE)
        bend = jnp.diag((up + down - 2 * here) / PROBE**2)
        for (i, j), value in zip(pairs, values[2 * d + 1 :], strict=True):
            mixed = (value - up[i] - up[j] + here) / PROBE**2
            bend = bend.at[i, j].set(mixed).at[j, i].set(mixed)
        curvatures, turn = jnp.linalg.eigh(bend)
        step = -turn @ ((turn.T @ slope) / jnp.maximum(jnp.abs(curvatures), 1e-6))
        step = step / jnp.maximum(jnp.linalg.norm(step) / FARTHEST, 1)
        tried = place + lengths[:, None] * jnp.nan_to_num(step)
        return tried[jnp.argmin(jax.lax.map(at, tried))], None

    place = jax.lax.scan(newton, jnp.zeros(d), None, length=NEWTON_STEPS)[0]
    return mean + scale * place @ axes


@dataclass(frozen=True)
class Comparison:
    """One setting to compare aggregators in.

    Attributes:
        task: with held-out data.
        setting: what tables call it.
        coupling: stream -> scope.
        clients: number of clients Q.
        checkpoints: iterations of the epoch.
        fitting_seeds: on which what has to be learnt is fitted.
        judged_seeds: on which everything is judged, none of them a fitting seed.
        oracle_seeds: how many of the judged seeds the oracles see, and of the fitting seeds the
            choice of the server step.
        root_seed: the seed of all randomness.
        held_out_examples: of each client, to judge on; all that it has by default.
    """

    task: Task
    setting: str
    coupling: Mapping[str, str]
    clients: int
    checkpoints: Sequence[int]
    fitting_seeds: int
    judged_seeds: int
    oracle_seeds: int
    root_seed: int = 0
    held_out_examples: int | None = None

    @property
    def first_judged(self) -> int:
        """The first seed that is judged: that of the tile after the last fitting seed."""
        return TILE * -(-self.fitting_seeds // TILE)

    def over(self, of_state: Callable[[State], Any], first: int, seeds: int, what: str) -> Any:
        """A function of a seed's state over many seeds, a tile at a time.

        Args:
            of_state: of one seed's state -> a pytree of arrays.
            first: index of the first seed, a multiple of `TILE`.
            seeds: how many.
            what: shown while it runs.

        Returns:
            NumPy arrays (seeds, ...).
        """
        trained = state_of(
            self.task, self.coupling, self.clients, self.checkpoints, self.held_out_examples
        )

        def of_seeds(root: Array, seeds: Array, assets: Assets) -> Any:
            return jax.vmap(lambda seed: of_state(trained(root, seed, assets)))(seeds)

        tiles = range(first // TILE, first // TILE + -(-seeds // TILE))
        root, assets = scopes.root_key(self.root_seed), self.task.assets()
        computed = compute_tiles(
            of_seeds,
            root,
            assets,
            tile=TILE,
            block=block_size(TILE, self.clients, self.task.parameter_count),
            pending=tiles,
        )
        parts = [part for _, part in track(computed, total=len(tiles), what=what, unit="tile")]
        return jax.tree.map(lambda *a: np.concatenate(a)[:seeds], *parts)


def of_setting(plan: Aggregation, setting: str) -> Comparison:
    """One setting of a params file."""
    study = plan.study(setting)
    task = study.make_task()
    return Comparison(
        task=task,
        setting=setting,
        coupling=scopes.resolve(study.coupling, task.streams),
        **plan.model_dump(exclude={"task", "options", "skew", "settings"}),
    )


def run(plan: Comparison) -> dict[str, pd.DataFrame]:
    """Everything of one setting: the tables "methods", "barrier" and "surface"."""
    fitted = fit(plan)
    rows = judge(plan, fitted)
    oracles, barriers = search(plan, fitted)
    return {
        "methods": pd.DataFrame(rows + oracles, columns=COLUMNS),
        "barrier": pd.DataFrame(barriers, columns=BARRIER_COLUMNS),
        "surface": surface(plan, plan.first_judged),
    }


def fit(plan: Comparison) -> list[Fitted]:
    """Learns from the fitting seeds what aggregators need, for every checkpoint."""
    task = plan.task

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
    for k in range(len(plan.checkpoints)):
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
    task = plan.task
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
            made.append(models)
        names = list(made[0])
        models = jnp.stack([jnp.stack(list(m.values())) for m in made])  # (K, methods, t)
        mean = models[:, names.index(MEAN), None]
        moved = jnp.linalg.norm(mean - state.download, axis=2)
        apart = jnp.linalg.norm(models - mean, axis=2) / moved
        everything = jnp.concatenate([models, state.thetas], axis=1)
        values = jax.lax.map(
            lambda w: measures(task, state.data, state.held_out, w),
            everything.reshape(-1, everything.shape[2]),
        ).reshape(*everything.shape[:2], -1)
        found = dict(zip(names, jnp.moveaxis(values, 1, 0), strict=False))
        found[ALONE] = jnp.mean(values[:, len(names) :], axis=1)
        if task.ensemble is not None:
            found[ENSEMBLE] = jax.lax.map(lambda t: ensemble(task, state, t), state.thetas)
        return dict(values=found, apart=dict(zip(names, jnp.moveaxis(apart, 1, 0), strict=True)))

    found = plan.over(of_state, plan.first_judged, plan.judged_seeds, "judging")
    return _rows(plan, fitted, **found)


def search(plan: Comparison, fitted: Sequence[Fitted]) -> tuple[list[dict], list[dict]]:
    """The oracles, and the loss between clients 0 and 1, on the first of the judged seeds.

    Returns:
        Rows of the table, with the columns of `COLUMNS`, paired with the mean on the same seeds;
        and rows with the columns of `BARRIER_COLUMNS`: by how much F exceeds, at places between two
        clients, the straight line between its values at them (Frankle et al. 2020).
    """
    task = plan.task

    def of_state(state: State) -> dict[str, Any]:
        def of_checkpoint(thetas: Array) -> dict[str, Any]:
            mean = jnp.mean(thetas, axis=0)
            update = mean - state.download

            def f(w: Array) -> Array:
                return objective(task, state.data, w)

            line = state.download + best_step(lambda s: f(state.download + s * update)) * update
            plane = best_on_plane(f, thetas)
            models = {MEAN: mean, LINE: line, PLANE: plane}
            places = jnp.asarray(SEGMENT, mean.dtype)[:, None]
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
    for k in range(len(plan.checkpoints)):
        excess = between[np.isfinite(between[:, k]).all(axis=1), k]
        for place, values in zip(SEGMENT, excess.T, strict=True):
            mean, error = mean_and_error(values)
            barriers.append(
                _where(plan, k) | dict(seeds=len(excess), place=place, excess=mean, excess_se=error)
            )
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
    for k in range(len(plan.checkpoints)):
        at = {name: np.asarray(v[good, k], np.float64) for name, v in values.items()}
        rivals = [name for name in at if name not in REFERENCES]
        least = np.min([at[name][:, 0] for name in rivals], axis=0)
        for name, own in at.items():
            row = _where(plan, k) | dict(
                method=name,
                reference=name in REFERENCES,
                seeds=n,
                fitting_seeds=fitted[k].seeds,
                non_finite=len(good) - n,
                better=(own[:, 0] < at[MEAN][:, 0]).mean(),
                best=(own[:, 0] <= least).mean() if name in rivals else np.nan,
                apart=apart[name][good, k].mean() if name in apart else np.nan,
            )
            for i, measure in enumerate(MEASURES):
                less = own[:, i] - at[MEAN][:, i]
                row |= {
                    name + end: value
                    for name, of in ((measure, own[:, i]), (f"{measure}_less_mean", less))
                    for end, value in zip(("", "_se"), mean_and_error(of), strict=True)
                }
            rows.append(row)
    return rows


def _where(plan: Comparison, k: int) -> dict:
    return dict(task=plan.task.name, setting=plan.setting, iteration=plan.checkpoints[k])


SURFACE_COLUMNS = ["task", "setting", "iteration", "what", "x", "y", "objective"]
SURFACE_POINTS = 41


def surface(plan: Comparison, seed: int) -> pd.DataFrame:
    """F on the plane through the first three clients of a seed at the last checkpoint.

    Args:
        plan: the setting, of three clients or more.
        seed: the seed.

    Returns:
        A table with the columns of `SURFACE_COLUMNS`: `what` is "grid" or what is marked there (the
        pooled solution and the best step lie off the plane: their place is that of their
        projection, their objective their own). Coordinates are distances along two orthogonal axes
        from the mean of the clients.

    Raises:
        ValueError: for fewer than three clients.
    """
    if plan.clients < 3:
        raise ValueError(f"clients: {plan.clients} do not span a plane; it takes three")
    task = plan.task
    trained = state_of(task, plan.coupling, plan.clients, [plan.checkpoints[-1]])
    state = jax.jit(trained)(scopes.root_key(plan.root_seed), jnp.int32(seed), task.assets())
    thetas = state.thetas[0, :3]
    mean = jnp.mean(thetas, axis=0)
    axes = np.linalg.qr(np.asarray(thetas[1:] - thetas[0], np.float64).T)[0].T
    update = mean - state.download

    def f(w: Array) -> Array:
        return objective(task, state.data, w)

    step = jax.jit(lambda: best_step(lambda s: f(state.download + s * update)))()
    marked = {f"client {q}": thetas[q] for q in range(3)} | {
        MEAN: mean,
        PLANE: jax.jit(lambda: best_on_plane(f, thetas))(),
        LINE: state.download + step * update,
        LONGER: state.longer[0],
    }
    rows = [
        dict(what=name, x=place[0], y=place[1], objective=float(f(w)))
        for name, w in marked.items()
        for place in [axes @ np.asarray(w - mean, np.float64)]
    ]
    reach = 1.3 * max(max(abs(row["x"]), abs(row["y"])) for row in rows)
    line = np.linspace(-reach, reach, SURFACE_POINTS)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    points = np.asarray(mean) + grid @ axes
    values = jax.jit(lambda p: jax.lax.map(f, p))(jnp.asarray(points, mean.dtype))
    rows += [
        dict(what="grid", x=x, y=y, objective=float(v))
        for (x, y), v in zip(grid, values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=SURFACE_COLUMNS[3:])
    return table.assign(**_where(plan, -1))[SURFACE_COLUMNS]


def best_aggregator(rows: pd.DataFrame, limit: float) -> pd.Series | None:
    """Of the methods that only weigh what the clients say, the least F that is beyond chance.

    Args:
        rows: of one setting and checkpoint.
        limit: how many standard errors below the mean of the clients count.

    Returns:
        Its row, None if no method is so far below the mean of the clients.
    """
    of = rows[~rows.reference & ~rows.method.isin([MEAN, *MAPS])]
    of = of[of.objective_less_mean < -limit * of.objective_less_mean_se]
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
            for setting, of in table.groupby("setting", sort=False)
        ],
    )


def _of_setting(of: pd.DataFrame, last: int, limit: float) -> dict:
    """At the last iteration all methods; at each a client alone and the best other aggregator."""
    final = of[of.iteration == last].assign(map=of.method.isin(MAPS))
    others = final[final.method != MEAN]
    courses = []
    for iteration, rows in of.groupby("iteration"):
        best = best_aggregator(rows, limit)
        courses.append(
            dict(
                iteration=iteration,
                alone=rows[rows.method == ALONE].iloc[0].to_dict(),
                best=None if best is None else best.to_dict(),
            )
        )
    return dict(
        mean=final[final.method == MEAN].iloc[0].to_dict(),
        methods=others.sort_values(["reference", "map", "objective_less_mean"]).to_dict("records"),
        courses=courses,
        same=others.method[~others.reference & (others.apart < COINCIDES)].to_list(),
    )
