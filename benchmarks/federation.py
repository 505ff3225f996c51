"""A small federation: ten clients, five rounds, a perceptron 16-32-1; by fedmi and by plain JAX."""

from functools import partial

import jax
import jax.numpy as jnp

import fedmi
from benchmarks.work import Work

CLIENTS, ROUNDS, EXAMPLES, BATCH, RATE = 10, 5, 64, 8, 0.05
WIDTH, HIDDEN = 16, 32


def init(key: jax.Array) -> dict[str, jax.Array]:
    """The perceptron's parameters."""
    first, second = jax.random.split(key)
    return dict(
        a=jax.random.normal(first, (WIDTH, HIDDEN)) / WIDTH**0.5,
        b=jnp.zeros(HIDDEN),
        c=jax.random.normal(second, (HIDDEN, 1)) / HIDDEN**0.5,
        d=jnp.zeros(1),
    )


def loss(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Its mean squared error."""
    x, y = batch
    out = jax.nn.relu(x @ params["a"] + params["b"]) @ params["c"] + params["d"]
    return jnp.mean((out[:, 0] - y) ** 2)


def examples(source: jax.Array, variation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A client's examples: a linear law of the source with noise."""
    x = jax.random.normal(variation, (EXAMPLES, WIDTH))
    noise = jax.random.normal(jax.random.fold_in(variation, 1), (EXAMPLES,))
    return x, x @ jax.random.normal(source, (WIDTH,)) + 0.1 * noise


def task() -> fedmi.Task:
    """The federation's clients as a task."""

    def both(params, batch, key):
        value = loss(params, batch)
        return value, value

    return fedmi.Task(
        name="perceptron",
        streams=dict(init="init", source="source", variation="variation", order="order"),
        init=lambda keys: init(keys["init"]),
        data=lambda keys, assets: examples(keys["source"], keys["variation"]),
        loss=both,
        examples=EXAMPLES,
        batch_size=BATCH,
        learning_rate=RATE,
    )


MADE = task()


def by_fedmi(*, seeds: int, first: bool) -> Work:
    """`fedmi.sample`, as a user calls it; the first call compiles."""

    def run() -> None:
        fedmi.sample(MADE, seeds=seeds, clients=CLIENTS, rounds=ROUNDS)

    if not first:
        run()
    return Work(run, seeds, "federations", "fedmi.sample")


def by_jax(*, seeds: int, first: bool) -> Work:
    """Rounds written in JAX: an epoch is a scan, clients are vmapped, a round is compiled."""

    def epoch(params, data, key):
        order = jax.random.permutation(key, EXAMPLES).reshape(-1, BATCH)

        def step(params, rows):
            slopes = jax.grad(loss)(params, tuple(of[rows] for of in data))
            return jax.tree.map(lambda p, g: p - RATE * g, params, slopes), None

        return jax.lax.scan(step, params, order)[0]

    @jax.jit
    def start(key):
        source, *variations = jax.random.split(key, 1 + CLIENTS)
        draw = jax.vmap(partial(examples, source))
        return init(jax.random.fold_in(key, 1)), draw(jnp.stack(variations))

    @jax.jit
    def one_round(params, data, key):
        clients = jax.vmap(epoch, (None, 0, 0))(params, data, jax.random.split(key, CLIENTS))
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), clients)

    def run() -> None:
        for seed in range(seeds):
            key = jax.random.key(seed)
            params, data = start(key)
            for number in range(ROUNDS):
                params = one_round(params, data, jax.random.fold_in(key, 2 + number))
        jax.block_until_ready(params)

    if not first:
        run()
    return Work(run, seeds, "federations", "a compiled round, a loop over seeds")
