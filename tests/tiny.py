"""A task of a dozen parameters whose law, and so whose mutual information, is known exactly.

A client's examples are x = s + noise with a normal source s and normal noise, and the loss is
|theta - x|^2 / 2. After k steps at rate r on minibatches of B examples, from theta = 0,

    theta_k = (1 - (1 - r)^k) s + r sum_j (1 - r)^(k - j) (mean noise of minibatch j),

so that two clients that share their source are jointly normal with one known correlation in each
of the twelve coordinates.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from fedmi import Task

SIZE = 12
NOISE = 2.0


def init(keys):
    return {"w": jnp.zeros((2, 4), jnp.float32), "b": jnp.zeros(4, jnp.float32)}


def points(source, variation, examples):
    source = jax.random.normal(source, (SIZE,), jnp.float32)
    return source + NOISE * jax.random.normal(variation, (examples, SIZE), jnp.float32)


def squared_distance(params, batch, key):
    theta = jnp.concatenate([params["b"], params["w"].ravel()])
    loss = jnp.mean(jnp.sum((theta - batch) ** 2, axis=-1)) / 2
    return loss, loss


def make(learning_rate: float = 0.25, batch_size: int = 4, examples: int = 16) -> Task:
    return Task(
        name="tiny",
        streams={"init": "init", "source": "source", "variation": "variation", "order": "order"},
        init=init,
        data=lambda keys, assets: points(keys["source"], keys["variation"], examples),
        loss=squared_distance,
        held_out=lambda keys, assets: points(
            keys["source"], jax.random.fold_in(keys["variation"], 1), examples
        ),
        examples=examples,
        batch_size=batch_size,
        learning_rate=learning_rate,
        metric="distance",
        options={"learning_rate": learning_rate, "batch_size": batch_size, "examples": examples},
    )


task = make()

# How far rounding in float32 may carry a parameter, at rate r and batch size B, whatever the order
# of the sums. A step adds at most (2 r (B + 5) + 1) u M to the error and shrinks the former by
# 1 - r, so that it stays below (2 (B + 5) + 1 / r) u M = 11 eps M; to it come 5 eps M of the draws,
# a few units in the last place. No example is as large as M = 12, which is 5 standard deviations.
ROUNDING = (11 + 5) * float(np.finfo(np.float32).eps) * 12
# And the metric, relatively: it is a mean of squares about 2 ** 2, each of a difference that is off
# by twice as much.
METRIC_ROUNDING = 2 * ROUNDING

STABILITY = pd.DataFrame(
    [
        dict(iteration=4)
        | dict(apart_median=3e-7, apart_90=4e-7, apart_most=5e-7)
        | dict(growth_median=0.3, growth_90=0.4, growth_most=0.5)
        | dict(share_median=1e-6, share_90=2e-6, share_most=3e-6)
    ]
)
"""What `fedmi.sampling.chaos` tells of the task: a difference shrinks by 1 - r a step."""
MADE = dict(code=dict(commit="1a2b3c4d5e", dirty=False), parts=[])
"""The least that a manifest says of how samples were made."""


def nested(**options) -> Task:
    """The same with two layers, `first` of 4 and `second` of 8 parameters."""
    flat = make(**options)

    def loss(params, batch, key):
        return squared_distance({"b": params["first"]["b"], "w": params["second"]["w"]}, batch, key)

    return replace(
        flat,
        name="nested",
        init=lambda keys: {
            "first": {"b": jnp.zeros(4, jnp.float32)},
            "second": {"w": jnp.zeros((2, 4), jnp.float32)},
        },
        loss=loss,
    )


def correlation(task: Task, iteration: int) -> float:
    """Between the same coordinate of two clients that share their source and nothing else."""
    kept = 1 - task.learning_rate
    signal = (1 - kept**iteration) ** 2
    weights = task.learning_rate * kept ** np.arange(iteration)
    return signal / (signal + NOISE**2 / task.batch_size * np.sum(weights**2))


def mi_bits(task: Task, iteration: int) -> float:
    """The mutual information of two such clients."""
    return -SIZE / 2 * np.log2(1 - correlation(task, iteration) ** 2)
