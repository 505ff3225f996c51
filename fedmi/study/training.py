"""Which aggregator does a server want, round after round?

Every way to train is tuned alike: as many points of a grid, on seeds that it is not judged on. What
it gains over federated averaging is a paired difference, seed by seed. Of the judged seeds half say
which way is best, and the others how much it gains, so that none wins by being chosen.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd

from fedmi.progress import tell
from fedmi.sampling.federation import Drawn, Federation, draw, federate
from fedmi.sampling.replay import MEASURES
from fedmi.stats import bonferroni_limit, mean_and_error
from fedmi.study import results
from fedmi.study.settings import Setting, Training
from fedmi.study.sizes import FAILS, FALL, HOLDS, OPEN, told
from fedmi.study.tables import mean_of
from fedmi.study.ways import AVERAGE, way_of
from fedmi.tasks.task import Task

METRIC, LOSS = MEASURES.index("held_out_metric"), MEASURES.index("held_out_loss")
COLUMNS = [
    "task", "setting", "way", "round", "seeds", "non_finite", "metric", "value", "value_se",
    "loss", "loss_se", "gain", "gain_se", "rate", "number", "number_value", "seconds_client_epoch",
]  # fmt: skip
TUNING_COLUMNS = [
    "task", "setting", "way", "rate", "number", "number_value", "value", "value_se", "chosen",
]  # fmt: skip
CHOICE_COLUMNS = [
    "task", "setting", "way", "metric", "larger_is_better", "average", "rise", "gain", "gain_se",
    "as_good",
]  # fmt: skip

TABLES = ("", "-choice", "-tuning", "-along", "-link")
"""The endings of the tables that the page "training" is of, in the order of `facts`."""

Found = Mapping[str, Any]
"""What one way made of a setting, as `measure` returns it."""


def run(plan: Training, folder: Path) -> dict[str, dict[str, Found]]:
    """Trains all settings in all their ways; what has been made before is read.

    Args:
        plan: the comparison.
        folder: of its results, which keeps a file a setting and way.

    Returns:
        Setting -> way -> what `measure` returns.
    """
    found: dict[str, dict[str, Found]] = {}
    for setting in plan.settings:
        first = next(iter(found.values()), None)
        names = plan.first_ways if first is None else ways_elsewhere(plan, setting, first)
        drawn = _drawn(plan, setting)
        found[setting.name] = {}
        for i, name in enumerate(names, start=1):
            tell(f"{setting.name}: {name} ({i} of {len(names)})")
            path = folder_of(folder, setting) / f"{_plain(name)}.json"
            make = partial(measure, plan, setting, name, drawn)
            found[setting.name][name] = results.kept(path, plan.fingerprint(setting), make)
    return found


def folder_of(folder: Path, setting: Setting) -> Path:
    """Where the results of a setting are kept."""
    return folder / _plain(setting.name)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name)


def _drawn(plan: Training, setting: Setting) -> Callable[[], Drawn]:
    """What draws the data of a setting's clients, when they are first asked for."""

    @cache
    def drawn() -> Drawn:
        return draw(federation_of(plan, setting, AVERAGE), plan.seeds, what=f"{setting.name}: data")

    return drawn


def federation_of(plan: Training, setting: Setting, name: str, **changes: Any) -> Federation:
    """The federation that trains in a way."""
    way = way_of(name)
    return Federation(
        aggregator=way.aggregator,
        proximal=way.proximal,
        controlled=way.controlled,
        **dict(plan.federation(setting)) | changes,
    )


def measure(
    plan: Training, setting: Setting, name: str, drawn: Callable[[], Drawn]
) -> dict[str, Any]:
    """Tunes one way to train in a setting, and judges it on other seeds.

    Args:
        plan: the comparison.
        setting: one of its settings.
        name: of the way.
        drawn: gives the clients' data at the plan's seeds.

    Returns:
        `tuning`, a row a point of the grid with its mean metric; `numbers`, those that were chosen;
        `judged`, (seeds, rounds, 3) the `MEASURES` of every seed; `seconds` that took.
    """
    federation = federation_of(plan, setting, name)
    task = federation.task
    grid = way_of(name).grid(plan.lowest_rate, plan.highest_rate)
    judged, tuned_on = plan.seeds[: plan.judged_seeds], plan.seeds[plan.judged_seeds :]
    points, each = len(grid["rate"]), len(tuned_on)
    room = max(points * each, len(judged))
    train = partial(federate, federation, drawn=drawn(), room=room)
    at = {number: np.repeat(values, each).tolist() for number, values in grid.items()}
    tried = train([*tuned_on] * points, at, what=f"{name}: tuning")["measures"]
    values = tried[:, -1].reshape(points, each, -1).astype(float)
    good = np.isfinite(values[..., LOSS]).all(axis=1)
    means = np.where(good, _direction(task) * values[..., METRIC].mean(axis=1), -np.inf)
    best = int(np.argmax(means))
    numbers = {number: float(values[best]) for number, values in grid.items()}
    began = monotonic()
    final = train(judged, {n: [v] * len(judged) for n, v in numbers.items()}, what=name)
    return dict(
        tuning=[
            {number: float(of[i]) for number, of in grid.items()}
            | mean_of("value", values[i, :, METRIC])
            | dict(chosen=i == best)
            for i in range(points)
        ],
        numbers=numbers,
        judged=final["measures"],
        seconds=monotonic() - began,
    )


def ways_elsewhere(plan: Training, setting: Setting, first: Mapping[str, Found]) -> list[str]:
    """Federated averaging, the best of the first setting, and what a setting asks for besides.

    Those that cannot be used with so few clients a round are left out.
    """
    of = plan.federation(setting)
    better = _direction(of["task"])
    half = plan.judged_seeds // 2

    def goodness(name: str) -> float:
        last = np.asarray(first[name]["judged"], float)[:half, -1]
        return better * last[:, METRIC].mean() if np.isfinite(last[:, LOSS]).all() else -np.inf

    able = [n for n in first if n != AVERAGE and way_of(n).serves(plan.task, of["participants"])]
    best = sorted(able, key=goodness, reverse=True)[: plan.best]
    return list(dict.fromkeys([AVERAGE, *best, *setting.also]))


def rows(plan: Training, found: Mapping[str, Mapping[str, Found]]) -> list[dict]:
    """The rows of `training.csv`: a setting, way and judged round, with the gain over averaging.

    The gain is a difference of the held-out metric, above zero where the way is better, paired by
    seed; all means are over the judged seeds that are finite in both.
    """
    made = []
    for setting in plan.settings:
        of = plan.federation(setting)
        task, ways = of["task"], found[setting.name]
        epochs = plan.judged_seeds * plan.rounds * of["participants"] * task.epochs
        better = _direction(task)
        average = np.asarray(ways[AVERAGE]["judged"], float)
        for name, result in ways.items():
            own = np.asarray(result["judged"], float)
            for place, number in enumerate(plan.judged):
                good = np.isfinite(own[:, place]).all(axis=1)
                both = good & np.isfinite(average[:, place]).all(axis=1)
                gain = better * (own - average)[both, place, METRIC]
                made.append(
                    dict(
                        _where(plan, setting, name),
                        round=number,
                        seeds=int(good.sum()),
                        non_finite=int((~good).sum()),
                        metric=task.metric,
                        seconds_client_epoch=result["seconds"] / epochs,
                    )
                    | mean_of("value", own[good, place, METRIC])
                    | mean_of("loss", own[good, place, LOSS])
                    | mean_of("gain", gain)
                    | _numbers(name, result["numbers"])
                )
    return made


def tuning_rows(plan: Training, found: Mapping[str, Mapping[str, Found]]) -> list[dict]:
    """The rows of `training-tuning.csv`: every point of every grid, and which one was chosen."""
    return [
        _where(plan, setting, name) | row | _numbers(name, row)
        for setting in plan.settings
        for name, result in found[setting.name].items()
        for row in result["tuning"]
    ]


def _direction(task: Task) -> int:
    """1 where a larger metric is better, else -1."""
    return 1 if task.larger_is_better else -1


def _where(plan: Training, setting: Setting, name: str) -> dict[str, str]:
    return dict(task=plan.task, setting=setting.name, way=name)


def _numbers(name: str, numbers: Mapping[str, float]) -> dict[str, Any]:
    """The rate, and the number of a way's own if it has one."""
    own = next(iter(way_of(name).own), None)
    own = None if own == "rate" else own
    return dict(rate=numbers["rate"], number=own, number_value=numbers[own] if own else np.nan)


def choice_rows(plan: Training, found: Mapping[str, Mapping[str, Found]]) -> list[dict]:
    """The rows of `training-choice.csv`: the best way of each setting, and what it gains.

    The first half of the judged seeds says which way is best; its gain over federated averaging is
    that of the other half, and `as_good` are the ways that these do not tell from it at 5 % for
    all of them together. `average` is what federated averaging reaches, and `rise` what that is
    better than the download.
    """
    made = []
    for setting in plan.settings:
        task, ways = plan.federation(setting)["task"], found[setting.name]
        better = _direction(task)
        last = {
            name: better * np.asarray(result["judged"], float)[:, -1, METRIC]
            for name, result in ways.items()
        }
        last = {name: np.where(np.isfinite(v), v, -np.inf) for name, v in last.items()}
        half = plan.judged_seeds // 2
        best = max(last, key=lambda name: last[name][:half].mean())
        start = better * np.asarray(ways[AVERAGE]["judged"], float)[:, 0, METRIC]
        gain, error = mean_and_error((last[best] - last[AVERAGE])[half:])
        limit = bonferroni_limit(max(len(ways) - 1, 1))
        made.append(
            _where(plan, setting, best)
            | dict(
                metric=task.metric,
                larger_is_better=task.larger_is_better,
                average=better * last[AVERAGE][half:].mean(),
                rise=(last[AVERAGE] - start)[half:].mean(),
                gain=gain,
                gain_se=error,
                as_good=", ".join(
                    name
                    for name in ways
                    if name != best and not _worse((last[best] - last[name])[half:], limit)
                ),
            )
        )
    return made


def _worse(lead: np.ndarray, limit: float) -> bool:
    """Whether what leads by so much is surely better."""
    if np.isinf(lead).any():
        return True
    mean, error = mean_and_error(lead)
    return mean > limit * error


def facts(
    table: pd.DataFrame,
    choice: pd.DataFrame,
    tuning: pd.DataFrame,
    along: pd.DataFrame,
    link: pd.DataFrame,
) -> dict:
    """What the page "training" says.

    A gain is one of size from 2 % on of what federated averaging is better than the download, and
    counts at 5 % for all settings together.

    Args:
        table: rows with `COLUMNS`.
        choice: rows with `CHOICE_COLUMNS`.
        tuning: rows with `TUNING_COLUMNS`.
        along, link: rows of `fedmi.study.along`, which may be none.
    """
    limit = bonferroni_limit(len(choice))
    situations = []
    for row in choice.to_dict("records"):
        size = FALL * row["rise"]
        verdict = told(row["gain"], row["gain_se"], size, limit)
        if row["way"] == AVERAGE:
            verdict = FAILS
        situations.append(
            row
            | dict(
                size=size,
                verdict=verdict,
                why=way_of(row["way"]).why,
                as_good=row["as_good"].split(", ") if isinstance(row["as_good"], str) else [],
            )
        )
    last = table.loc[table["round"] == table["round"].max()]
    first = last.loc[last.setting == table.setting.iloc[0]]
    return dict(
        task=table.task.iloc[0],
        metric=table.metric.iloc[0],
        rounds=max(table["round"].tolist()),
        seeds=max(first.seeds.tolist()),
        limit=limit,
        first=first.sort_values("gain", ascending=False).to_dict("records"),
        situations=situations,
        better=[s for s in situations if s["verdict"] == HOLDS],
        open=[s for s in situations if s["verdict"] == OPEN],
        same=[s for s in situations if s["verdict"] == FAILS],
        seconds=float(table.seconds_client_epoch.median()),
        at_edge=_at_edge(tuning),
        along=_along(along),
        links=link.to_dict("records"),
        linked=link.loc[link.p_value * len(link) < 0.05].to_dict("records"),
    )


def _at_edge(tuning: pd.DataFrame) -> int:
    """In how many cases the rate that was chosen is the lowest or highest that was tried."""
    chosen, rates = tuning.loc[tuning.chosen], tuning.rate
    return int(chosen.rate.isin([rates.min(), rates.max()]).sum())


def _along(along: pd.DataFrame) -> list[dict]:
    """A row a setting and round: every quantity's value and error."""
    return [
        dict(setting=setting, round=number)
        | {row["quantity"]: (row["value"], row["se"]) for row in of.to_dict("records")}
        for (setting, number), of in along.groupby(["setting", "round"], sort=False)
    ]


def tables(plan: Training, found: Mapping[str, Mapping[str, Found]]) -> Sequence[pd.DataFrame]:
    """The tables training, training-tuning and training-choice."""
    return (
        pd.DataFrame(rows(plan, found), columns=COLUMNS),
        pd.DataFrame(tuning_rows(plan, found), columns=TUNING_COLUMNS),
        pd.DataFrame(choice_rows(plan, found), columns=CHOICE_COLUMNS),
    )
