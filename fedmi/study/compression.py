"""How much of an upload distributed source coding could save.

The paper's conclusion hopes that dependent clients need not send all of their parameters. Two
numbers decide: the bits that a client takes if its parameters are sent at an error that leaves the
loss as it is (`fedmi.study.rate_distortion`), and the bits less that it takes where the server
holds the other clients' parameters already.

**The harmless error.** Every client's parameters are given an error as reverse water-filling makes
it in the principal directions of their law, and the erroneous uploads are averaged. The error is
harmless while the global objective, the mean over clients of the loss on their own training data,
rises by no more than a small share of what the mean of the clients had gained over the download.
Normal noise is taken with both signs, so that only what it costs on average is left, and the same
draws serve all water levels. Laws are fitted on seeds other than those that are evaluated.

**Two channels** make errors of the same size:

- "noise": normal noise of that size is added. It says what an error costs that has nothing to do
  with what is sent: half of the loss's curvature times the error, less for being averaged. No code
  of R(D) bits makes such errors; it is the size that counts here.
- "decoder": what the best code of R(D) bits makes of the parameters. It leaves weak directions out
  and pulls the others towards the law's mean over seeds. Where the clients had moved along weak
  directions to suit their own data, that costs more than noise does. Where all seeds start from one
  download, the law's mean is a network trained by thousands of clients, and may be better than the
  mean of three: a decoder that holds it can then do without any upload, for reasons that have
  nothing to do with coding. So its costs need not grow with the error.

What is idealised: encoder and decoder know the law, blocks of many seeds are coded together, and
the other clients' parameters are held without error. The law is that of the parameters; where the
download differs from seed to seed, the server knows it, and updates would take fewer bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fedmi.sampling.replay import objectives, over_blocks
from fedmi.stats import Z95, mean_and_error, ratio_and_error
from fedmi.study import rate_distortion
from fedmi.study.rate_distortion import Law, SideInformation
from fedmi.study.sources import Sources
from fedmi.study.tables import mean_of, origin
from fedmi.tasks.task import Task

BOOTSTRAPS = 100
TOLERANCES = (0.01, 0.001, 0.0001)
CHANNELS = ("noise", "decoder")
FLOAT_BITS = 32  # what a parameter takes as it is

COLUMNS = [
    "task", "coupling", "iteration", "channel", "tolerance", "gain", "gain_se", "mean_cost",
    "mean_cost_se", "distortion", "distortion_share", "bits", "bits_se", "separate_bits",
    "bits_one", "bits_others", "saved_one", "saved_one_se", "saved_others", "saved_others_se",
    "saved_coded", "saved_coded_se", "mi_one", "mi_one_se", "mi_others", "mi_others_se",
    "parameters", "clients", "fitted", "evaluated",
]  # fmt: skip
COST_COLUMNS = [
    "task", "coupling", "iteration", "channel", "level", "distortion_share", "cost", "cost_se",
]  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What errors in the uploads cost at one checkpoint.

    Attributes:
        gain: (S,) by how much the mean of the clients lowers the global objective of a seed.
        rise: channel -> (S, K), by how much errors raise it again, at each water level.
        mean_rise: (S,) by how much it rises if the law's mean takes the place of the uploads.
        levels: (K,) water levels, ascending.
    """

    gain: np.ndarray
    rise: Mapping[str, np.ndarray]
    mean_rise: np.ndarray
    levels: np.ndarray


def costs(
    task: Task, samples: xr.Dataset, fitted: Mapping[int, Sources], *, seed: int = 0
) -> dict[int, Cost]:
    """What errors in the uploads cost, at every checkpoint that has been fitted.

    Args:
        task: the task that the samples are of.
        samples: finite samples, others than those that the laws were fitted on.
        fitted: checkpoint -> its sources.
        seed: of the noise.

    Raises:
        ValueError: no seeds, or samples of another task.
    """
    if not samples.sizes["seed"]:
        raise ValueError("samples: no seed is left to evaluate; take more seeds")
    evaluate, rng = objectives(task, samples), np.random.default_rng(seed)

    def of_block(block: xr.Dataset, filled: np.ndarray) -> Any:
        weights = [
            candidates(block.theta.sel(iteration=iteration).values[filled], of, rng)
            for iteration, of in fitted.items()
        ]
        weights = np.concatenate(weights, axis=1).astype(np.float32)
        return evaluate(block.seed.values[filled], weights)

    values = over_blocks(of_block, samples)
    each = np.split(values[:, 1:], len(fitted), axis=1)
    return {
        iteration: _cost(values[:, 0], of_checkpoint, of.levels)
        for (iteration, of), of_checkpoint in zip(fitted.items(), each, strict=True)
    }


def _cost(download: np.ndarray, values: np.ndarray, levels: np.ndarray) -> Cost:
    """The costs of a checkpoint from the objective at its `candidates`."""
    exact, at_mean = values[:, 0], values[:, 1]
    signs = values[:, 2:].reshape(len(values), len(CHANNELS), len(levels), 2)
    rise = signs.mean(axis=-1) - exact[:, None, None]
    return Cost(
        gain=download - exact,
        rise={channel: rise[:, i] for i, channel in enumerate(CHANNELS)},
        mean_rise=at_mean - exact,
        levels=levels,
    )


def candidates(theta: np.ndarray, of: Sources, rng: np.random.Generator) -> np.ndarray:
    """The averaged uploads whose objective is asked for.

    Args:
        theta: (n, Q, t) the clients' parameters.
        of: their laws.
        rng: for one standard normal draw a seed, client and direction, common to all levels.

    Returns:
        (n, 2 + 4 K, t): the mean of the clients, the mean of their laws, and then for each channel
        and each of K levels two averages of what arrives, with noise of either sign.
    """
    levels, count = of.levels, len(of.laws)
    mean = theta.mean(axis=1, dtype=np.float64)
    shape = (len(theta), len(levels), theta.shape[-1])
    centre, spread = np.zeros((2, len(CHANNELS), *shape))
    centre[0] = mean[:, None]
    for q, law in enumerate(of.laws):
        normal = rng.standard_normal((len(theta), 1, len(law.variances)))
        spread[0] += normal * np.sqrt(np.minimum(law.variances, levels[:, None])) @ law.axes.T
        # The backward channel of the optimal code (Cover and Thomas, Figure 10.7).
        kept = np.maximum(1 - levels[:, None] / law.variances, 0)
        scores = (theta[:, q] - law.mean) @ law.axes
        centre[1] += law.mean + (kept * scores[:, None]) @ law.axes.T
        noise = np.sqrt(np.minimum(law.variances, levels[:, None]) * kept)
        spread[1] += normal * noise @ law.axes.T
    centre[1] /= count
    spread /= count
    both = np.stack([centre + spread, centre - spread], axis=3)  # channel, n, K, sign, t
    laws_mean = np.mean([law.mean for law in of.laws], axis=0)
    return np.concatenate(
        [
            mean[:, None],
            np.broadcast_to(laws_mean, mean.shape)[:, None],
            *both.reshape(len(CHANNELS), len(theta), -1, theta.shape[-1]),
        ],
        axis=1,
    )


def harmless_level(
    rise: np.ndarray, gain: np.ndarray, levels: np.ndarray, tolerance: float = 0.01
) -> float:
    """The largest water level whose error is harmless.

    Args:
        rise: (S, K) of the objective, at each level.
        gain: (S,) of the mean of the clients over the download.
        levels: (K,) ascending.
        tolerance: the share of the gain that errors may cost.

    Returns:
        The first level at which the mean rise reaches `tolerance` of the mean gain, interpolated
        between the levels that were tried; the last of them if none does. nan if the first already
        costs too much, or if training gained nothing, so that there is nothing to spare.

    Raises:
        ValueError: a tolerance that is not between 0 and 1.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: {tolerance!r} is not between 0 and 1")
    allowed, cost = tolerance * gain.mean(), rise.mean(axis=0)
    too_much = cost > allowed
    if not allowed > 0 or too_much[0]:
        return nan
    if not too_much.any():
        return float(levels[-1])
    k = too_much.argmax()
    return float(np.interp(allowed, cost[[k - 1, k]], levels[[k - 1, k]]))


def rows(
    samples: xr.Dataset, iteration: int, of: Sources, cost: Cost,
    *, tolerances: Sequence[float] = TOLERANCES,
) -> list[dict]:  # fmt: skip
    """The rows of `compression.csv` of a checkpoint: one a channel and tolerance.

    All bits are bits per parameter, means over the clients. `distortion` is the total mean squared
    error of one client's parameters, `distortion_share` its share of their variance;
    `separate_bits` what coordinates take that are coded each by itself; `bits_one` and
    `bits_others` what a client takes where the server holds the next client, or all others;
    `saved_*` the share less than `bits`, `saved_coded` that where the server holds the next client
    only as that was sent, at the same water level; `mi_*` the Gaussian MI net of re-paired seeds.
    `mean_cost` is what it costs, as a share of the gain, to put the law's mean in place of all
    uploads. What cannot be told (too few seeds, no gain yet, nothing to send) is nan.

    Standard errors are over seeds; they hold both that of the harmless error (bootstrap over the
    evaluated seeds) and that of what side information saves.

    Args:
        samples: whose attributes name the study.
        iteration: the checkpoint.
        of: its sources.
        cost: its costs.
        tolerances: the shares of the gain that errors may cost.
    """
    t = samples.sizes["parameter"]
    study = origin(samples) | dict(
        iteration=iteration,
        **mean_of("gain", cost.gain),
        **_ratio("mean_cost", cost.mean_rise, cost.gain),
        parameters=t,
        clients=len(of.laws),
        fitted=of.n,
        evaluated=len(cost.gain),
    )
    found = []
    for channel in CHANNELS:
        for tolerance in tolerances:
            level = _level(cost, channel, tolerance)
            again = _resampled_levels(cost, channel, tolerance) if level > 0 else np.empty(0)
            asked = dict(channel=channel, tolerance=tolerance)
            found.append(study | asked | _coded(of, level, again, t))
    return found


def cost_rows(samples: xr.Dataset, iteration: int, of: Sources, cost: Cost) -> list[dict]:
    """The rows of `compression-costs.csv`: what each water level costs, as a share of the gain."""
    total = sum(law.variances.sum() for law in of.laws)
    errors = [rate_distortion.distortion(law.variances, cost.levels) for law in of.laws]
    shares = np.sum(errors, axis=0) / total
    return [
        origin(samples)
        | dict(iteration=iteration, channel=channel, level=level, distortion_share=share)
        | _ratio("cost", rise[:, k], cost.gain)
        for channel, rise in cost.rise.items()
        for k, (level, share) in enumerate(zip(cost.levels, shares, strict=True))
    ]


def _ratio(name: str, part: np.ndarray, whole: np.ndarray) -> dict[str, float]:
    ratio, error = ratio_and_error(part, whole)
    return {name: ratio, f"{name}_se": error}


def _level(cost: Cost, channel: str, tolerance: float) -> float:
    """The harmless level; nan too where the gain cannot be told from none."""
    gain, error = mean_and_error(cost.gain)
    if gain <= Z95 * error:
        return nan
    return harmless_level(cost.rise[channel], cost.gain, cost.levels, tolerance)


def _resampled_levels(cost: Cost, channel: str, tolerance: float) -> np.ndarray:
    """(BOOTSTRAPS,) the harmless level over resampled seeds, which is nan for none of them."""
    rng, n = np.random.default_rng(0), len(cost.gain)
    levels = np.array(
        [
            harmless_level(cost.rise[channel][drawn], cost.gain[drawn], cost.levels, tolerance)
            for drawn in rng.integers(n, size=(BOOTSTRAPS, n))
        ]
    )
    return np.where(np.isnan(levels), cost.levels[0], levels)


def _coded(of: Sources, level: float, again: np.ndarray, t: int) -> dict[str, float]:
    """Errors, bits a parameter and savings of a checkpoint at a water level.

    Args:
        of: the sources.
        level: the water level; nan where there is none, and then only the MI is given.
        again: the level over resampled seeds, for the errors.
        t: number of parameters.
    """
    sides = {name: side for name, side in (("one", of.one), ("others", of.others)) if side}
    result = {}
    for name, (mi, error) in of.mi.items():
        result |= {f"mi_{name}": mi / t, f"mi_{name}_se": error / t}
    if not level > 0:
        return result
    errors = _errors(of.laws, level)
    bits, bits_again = _bits(of.laws, level), [_bits(of.laws, other) for other in again]
    separate = [
        rate_distortion.rate(law.coordinate_variances, error)
        for law, error in zip(of.laws, errors, strict=True)
    ]
    result |= dict(
        distortion=np.mean(errors),
        distortion_share=sum(errors) / sum(law.variances.sum() for law in of.laws),
        bits=bits / t,
        bits_se=np.std(bits_again, ddof=1) / t,
        separate_bits=np.mean(separate) / t,
    )
    for name, side in sides.items():
        saved, error = _saved(of.laws, side, level) if bits else (0.0, 0.0)
        result[f"bits_{name}"] = (bits - saved) / t
        if bits:
            shares = [
                _saved(of.laws, side, other)[0] / bits_there
                for other, bits_there in zip(again, bits_again, strict=True)
                if bits_there
            ]
            both = np.hypot(np.std(shares, ddof=1), error / bits)
            result |= {f"saved_{name}": saved / bits, f"saved_{name}_se": both}
    if bits and "one" in sides:
        saved, error = _saved(of.laws, _given_as_sent(of, level), level)
        result |= dict(saved_coded=saved / bits, saved_coded_se=error / bits)
    return result


def _given_as_sent(of: Sources, level: float) -> list[SideInformation]:
    """What the next client tells about each after it was itself sent at a water level."""
    following = [*of.laws[1:], of.laws[0]]
    return [
        rate_distortion.side_information(
            law.variances, crosses, of.n, np.maximum(1 - level / after.variances, 0)
        )
        for law, crosses, after in zip(of.laws, of.crosses, following, strict=True)
    ]


def _errors(laws: Sequence[Law], level: float) -> list[float]:
    """The total mean squared error of each client at a water level."""
    return [float(rate_distortion.distortion(law.variances, level)) for law in laws]


def _bits(laws: Sequence[Law], level: float) -> float:
    """R(D) at a water level, the mean over clients."""
    return float(
        np.mean([0.5 * np.log2(np.maximum(law.variances / level, 1)).sum() for law in laws])
    )


def _saved(laws: Sequence[Law], side: Sequence[SideInformation], level: float) -> np.ndarray:
    """(2,) the bits saved at a water level and their error, as if all clients erred alike."""
    pairs = zip(side, _errors(laws, level), strict=True)
    return np.mean([s.saving(error) for s, error in pairs], axis=0)


def facts(table: pd.DataFrame) -> dict:
    """What the page "compression" says.

    Args:
        table: rows of `rows`, of one study.
    """
    table = table.sort_values(["tolerance", "iteration"], ascending=[False, True])
    noise = table.loc[table.channel == "noise"]
    final = noise.loc[noise.iteration == noise.iteration.max()]
    by_iteration = noise.drop_duplicates("iteration").dropna(subset=["mean_cost"])
    return dict(
        about=final.iloc[0].to_dict(),
        float_bits=FLOAT_BITS,
        channels={name: table.loc[table.channel == name].to_dict("records") for name in CHANNELS},
        savings=final.loc[(final.bits > 0) & np.isfinite(final.saved_one)].to_dict("records"),
        nothing_sent=by_iteration.to_dict("records"),
        empty=_empty(noise),
    )


def _empty(noise: pd.DataFrame) -> dict[str, list[int]]:
    """Why places of the table are empty: a reason -> the iterations it holds at."""
    missing, early = noise.bits.isna(), noise.gain <= Z95 * noise.gain_se
    reasons = dict(
        no_gain=missing & early,
        too_costly=missing & ~early,
        nothing_to_send=noise.bits == 0,
        too_few_seeds=~missing & (noise.bits > 0) & noise.saved_others.isna(),
    )
    found = {why: noise.iteration[which].unique().tolist() for why, which in reasons.items()}
    return {why: iterations for why, iterations in found.items() if iterations}
