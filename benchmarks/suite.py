"""What is measured, in which sizes, and what is compared with what.

The rows of the table:

    1  signal sampling      4  Gaussian mutual information
    2  digits sampling      5  the null by re-pairing
    3  KSG

An item may serve several rows. Items of one group take turns.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.runner import Group, Item

ROWS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        signal, digits: (N, d) of the estimators, as the two studies have them.
        tile: seeds a tile of fedmi's sampler.
        plain_seeds: seeds that the plain network trains in one run.
        torch_trainings: client-trainings of the signal task in one run of a PyTorch loop.
        torch_heads: likewise of the digits task.
        images: whose features one run takes.
        batches: batch sizes among which plain Flax and PyTorch choose their best.
        ksg_m, gaussian_m: re-pairings.
        tree_seconds: what SciPy's trees may take at each size.
        gpu_tile: seeds a tile on a GPU.
    """

    signal: tuple[int, int] = (22_000, 394)
    digits: tuple[int, int] = (26_400, 850)
    tile: int = 256
    plain_seeds: int = 64
    torch_trainings: int = 6
    torch_heads: int = 60
    images: int = 50_000
    batches: tuple[int, ...] = (50, 100, 200, 400, 800, 1600)
    ksg_m: int = 4
    gaussian_m: int = 20
    tree_seconds: float = 50
    gpu_tile: int = 2048


TINY = Sizes(
    signal=(512, 20),
    digits=(600, 30),
    tile=2,
    plain_seeds=2,
    torch_trainings=1,
    torch_heads=2,
    images=800,
    batches=(50, 200),
    ksg_m=2,
    gaussian_m=2,
    tree_seconds=1,
    gpu_tile=4,
)


def suite(
    sizes: Sizes, *, cores: int, gpu: bool = False, rows: Collection[int] = ROWS
) -> list[Group]:
    """Everything that the given rows of the table need.

    Args:
        sizes: how much.
        cores: processor cores that may be used.
        gpu: whether JAX sees a GPU.
        rows: the rows.
    """
    groups = [
        _signal(sizes, cores),
        _digits(sizes, cores),
        _features(sizes, cores),
        _ksg(sizes.signal, sizes, cores, seconds=200),
        _ksg(sizes.digits, sizes, cores, seconds=340),
        _gaussian(sizes.signal, sizes),
        _gaussian(sizes.digits, sizes),
    ]
    if gpu:
        groups.append(_gpu(sizes, cores))
    wanted = [
        replace(group, items=tuple(item for item in group.items if set(item.rows) & set(rows)))
        for group in groups
    ]
    return [group for group in wanted if group.items]


def _sampling(task: str, seeds: int, tile: int, cores: int, row: int) -> Item:
    return Item(
        name=f"{task} sampling/fedmi {seeds}",
        rows=(row,),
        what=f"{task} sampling",
        size=f"{seeds:,} seeds, 3 clients",
        function="benchmarks.sampling:fedmi",
        arguments=dict(task=task, seeds=seeds, tile=tile),
        devices=cores,
    )


def _peer(base: Item, name: str, who: str, function: str, **more: Any) -> Item:
    """Somebody else who does what an item does."""
    return replace(
        base,
        name=f"{base.what}/{name}",
        who=who,
        function=f"benchmarks.{function}",
        relation="faster",
        base=base.name,
        **more,
    )


def _signal(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("signal", 2 * sizes.tile * cores, sizes.tile, cores, row=1)
    tile = max(sizes.plain_seeds // cores, 1)
    seeds = tile * cores
    few = dict(size=f"{seeds:,} seeds, 3 clients")
    loop = dict(size=f"{sizes.torch_trainings} clients", devices=1)
    trainings = dict(trainings=sizes.torch_trainings)
    items = (
        fedmi,
        _peer(
            fedmi, "plain vmap", "plain Flax under jax.vmap", "sampling:plain_vmap",
            arguments=dict(seeds=seeds), devices=1, **few,
        ),
        _peer(
            fedmi, "plain tiles", "plain Flax in fedmi's tiles", "sampling:plain_tiles",
            arguments=dict(seeds=seeds, tile=tile), **few,
        ),
        _peer(
            fedmi, "torch", "PyTorch loop", "peers_torch:signal",
            arguments=trainings | dict(threads=[1, cores]), **loop,
        ),
        _peer(
            fedmi, "torch copies", "PyTorch loops, one a core", "peers_torch:signal",
            arguments=trainings | dict(threads=[1]), copies=cores, **loop,
        ),
    )  # fmt: skip
    return Group("signal sampling", items, 150)


def _digits(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("digits", 2 * sizes.tile * cores, sizes.tile, cores, row=2)
    loop = dict(size=f"{sizes.torch_heads} clients", devices=1)
    threads = dict(trainings=sizes.torch_heads, threads=[1, cores])
    items = (
        fedmi,
        _peer(
            fedmi, "torch", "PyTorch loop", "peers_torch:digits",
            arguments=threads | dict(ready=False), **loop,
        ),
        _peer(
            fedmi, "torch head", "PyTorch loop, features given", "peers_torch:digits",
            arguments=threads | dict(ready=True), **loop,
        ),
    )  # fmt: skip
    return Group("digits sampling", items, 120)


def _features(sizes: Sizes, cores: int) -> Group:
    fedmi = Item(
        name="LeNet features/fedmi",
        rows=(2,),
        what="LeNet features",
        size=f"{sizes.images:,} images",
        function="benchmarks.features:fedmi",
        arguments=dict(images=sizes.images),
        devices=cores,
        repeats=7,
    )
    own = dict(images=sizes.images, batches=list(sizes.batches))
    items = (
        fedmi,
        _peer(fedmi, "flax", "plain Flax convolutions", "features:flax", arguments=own),
        _peer(
            fedmi, "torch", "PyTorch", "peers_torch:features",
            arguments=own | dict(threads=cores), devices=1,
        ),
    )  # fmt: skip
    return Group("LeNet features", items, 60)


def _estimate(estimator: str, n: int, d: int, rows: tuple[int, ...], **more: Any) -> Item:
    return Item(
        name=f"{estimator} d={d}/fedmi",
        rows=rows,
        what=f"{estimator}, three pairs",
        size=f"N = {n:,}, d = {d}",
        function=f"benchmarks.estimation:{estimator.lower()}",
        arguments=dict(n=n, d=d),
        **more,
    )


def _with_null(base: Item, m: int) -> Item:
    return replace(
        base,
        name=f"{base.name} and null",
        rows=(5,),
        what=f"{base.what}, {m} re-pairings",
        arguments=base.arguments | dict(permutations=m),
        relation="repairing",
        base=base.name,
        m=m,
        repeats=3,
    )


def _limit(base: Item, what: str, function: str) -> Item:
    """The bare products beneath an item."""
    return replace(
        base,
        name=f"{base.name}, limit",
        rows=base.rows[:1],
        what=what,
        who="limit",
        function=f"benchmarks.estimation:{function}",
        relation="limit",
        base=base.name,
    )


def _ksg(size: tuple[int, int], sizes: Sizes, cores: int, seconds: float) -> Group:
    fedmi = _estimate("KSG", *size, rows=(3, 5))
    limit = _limit(fedmi, "matrix products of all distances", "distance_products")
    trees = replace(
        fedmi,
        name=f"{fedmi.name}, trees",
        rows=(3,),
        who="SciPy's k-d trees",
        function="benchmarks.peers_scipy:ksg",
        arguments=fedmi.arguments | dict(limit=sizes.tree_seconds, workers=cores),
        relation="faster",
        base=fedmi.name,
        repeats=1,
    )
    items = (limit, fedmi, _with_null(fedmi, sizes.ksg_m), trees)
    return Group(f"KSG, {fedmi.size}", items, seconds)


def _gaussian(size: tuple[int, int], sizes: Sizes) -> Group:
    fedmi = _estimate("Gaussian", *size, rows=(4, 5), repeats=5)
    limit = _limit(fedmi, "covariance product of all samples", "covariance")
    singular = replace(
        fedmi,
        name=f"{fedmi.name}, nearly singular",
        rows=(4,),
        what="Gaussian, three pairs, nearly singular",
        arguments=fedmi.arguments | dict(decades=8),
        relation="above",
        base=limit.name,
        repeats=3,
    )
    items = (limit, fedmi, _with_null(fedmi, sizes.gaussian_m), singular)
    return Group(f"Gaussian, {fedmi.size}", items, 70)


def _gpu(sizes: Sizes, cores: int) -> Group:
    """The whole of both studies' sampling and estimation on a GPU."""
    items = []
    for row, task, (n, d) in ((1, "signal", sizes.signal), (2, "digits", sizes.digits)):
        on_cpu = [
            _sampling(task, 2 * sizes.tile * cores, sizes.tile, cores, row),
            _estimate("KSG", n, d, rows=(3,)),
            _estimate("Gaussian", n, d, rows=(4,)),
        ]
        whole = _sampling(task, n, sizes.gpu_tile, 1, row)
        items += [
            replace(
                item,
                name=f"{item.name} on the GPU",
                who="fedmi on the GPU",
                relation="gpu",
                base=base.name,
                repeats=2,
                gpu=True,
            )
            for item, base in zip([whole, *on_cpu[1:]], on_cpu, strict=True)
        ]
    return Group("GPU", tuple(items), 120)
