"""What is measured, in which sizes, and what is compared with what.

The rows of the table:

    1  signal sampling      4  Gaussian mutual information
    2  digits sampling      5  the null by re-pairing
    3  KSG                  6  growth with N, and peak memory

An item may serve several rows. Items of one group take turns.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Literal

ROWS = (1, 2, 3, 4, 5, 6)
BATCHES = (50, 100, 200, 400, 800, 1600)

Relation = Literal["", "faster", "limit", "above", "repairing", "gpu"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that is timed in a process of its own.

    Attributes:
        name: unique; the first part names the series whose growth is fitted.
        rows: the rows of the table that need it.
        what, size, who: what is done, how much of it, and by whom.
        function: `module:function`, which returns a `benchmarks.work.Work`.
        arguments: of that function, of JSON's types.
        relation: what its ratio to `base` says: "faster", by how much the base beats it; "limit",
            how many times as long as this the base takes; "above", how many times as long as the
            base it takes itself; "repairing", the price of one of its `m` re-pairings relative to
            the base, which has none; "gpu", by how much it beats the base.
        base: the name of the item that it is compared with.
        m: re-pairings.
        n: the size that growth is fitted over.
        repeats: how often it is run.
        devices: CPU devices that JAX sees.
        copies: how many processes do the same at once.
        gpu: whether JAX may use a GPU.
    """

    name: str
    rows: tuple[int, ...]
    what: str
    size: str
    who: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    relation: Relation = ""
    base: str = ""
    m: int = 0
    n: int = 0
    repeats: int = 3
    devices: int = 1
    copies: int = 1
    gpu: bool = False


@dataclass(frozen=True)
class Group:
    """Items that take turns.

    Attributes:
        title: for the progress report.
        items: in the order of each round.
        seconds: after the first round no other begins that would end later than this.
    """

    title: str
    items: tuple[Item, ...]
    seconds: float


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
    batches: tuple[int, ...] = BATCHES
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
        *_growth(sizes, cores),
    ]
    if gpu:
        groups.append(_gpu(sizes, cores))
    wanted = [
        replace(group, items=tuple(item for item in group.items if set(item.rows) & set(rows)))
        for group in groups
    ]
    return [group for group in wanted if group.items]


def label(n: int, d: int) -> str:
    """N and d in words."""
    return f"N = {n:,}, d = {d}"


def _sampling(task: str, seeds: int, sizes: Sizes, cores: int, **more: Any) -> Item:
    item = Item(
        name=f"{task} sampling/fedmi {seeds}",
        rows=(6,),
        what=f"{task} sampling",
        size=f"{seeds:,} seeds, 3 clients",
        who="fedmi",
        function="benchmarks.sampling:fedmi",
        arguments=dict(task=task, seeds=seeds, tile=sizes.tile),
        n=seeds,
        devices=cores,
    )
    return replace(item, **more)


def _signal(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("signal", 2 * sizes.tile * cores, sizes, cores, rows=(1, 6))
    peer = Item(
        name="",
        rows=(1,),
        what="signal sampling",
        size=fedmi.size,
        who="",
        function="",
        relation="faster",
        base=fedmi.name,
    )
    tile = max(sizes.plain_seeds // cores, 1)
    plain = dict(size=f"{tile * cores:,} seeds, 3 clients", who="plain Flax under jax.vmap")
    loop = dict(
        size=f"{sizes.torch_trainings} clients",
        function="benchmarks.peers_torch:signal",
        arguments=dict(trainings=sizes.torch_trainings, threads=[1, cores]),
    )
    alone = dict(trainings=sizes.torch_trainings, threads=[1])
    items = (
        fedmi,
        replace(
            peer,
            name="signal sampling/plain vmap",
            **plain,
            function="benchmarks.sampling:plain_vmap",
            arguments=dict(seeds=tile * cores),
        ),
        replace(
            peer,
            name="signal sampling/plain tiles",
            **plain | dict(who="plain Flax in fedmi's tiles"),
            function="benchmarks.sampling:plain_tiles",
            arguments=dict(seeds=tile * cores, tile=tile),
            devices=cores,
        ),
        replace(peer, name="signal sampling/torch", who="PyTorch loop", **loop),
        replace(
            peer,
            name="signal sampling/torch copies",
            who="PyTorch loops, one a core",
            **loop | dict(arguments=alone),
            copies=cores,
        ),
    )
    return Group("signal sampling", items, 150)


def _digits(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("digits", 2 * sizes.tile * cores, sizes, cores, rows=(2, 6))
    whole = Item(
        name="digits sampling/torch",
        rows=(2,),
        what="digits sampling",
        size=f"{sizes.torch_heads} clients",
        who="PyTorch loop",
        function="benchmarks.peers_torch:digits",
        arguments=dict(trainings=sizes.torch_heads, threads=[1, cores], ready=False),
        relation="faster",
        base=fedmi.name,
    )
    head = replace(
        whole,
        name="digits sampling/torch head",
        who="PyTorch loop, features given",
        arguments=whole.arguments | dict(ready=True),
    )
    return Group("digits sampling", (fedmi, whole, head), 120)


def _features(sizes: Sizes, cores: int) -> Group:
    fedmi = Item(
        name=f"LeNet features/fedmi {sizes.images}",
        rows=(2, 6),
        what="LeNet features",
        size=f"{sizes.images:,} images",
        who="fedmi",
        function="benchmarks.features:fedmi",
        arguments=dict(images=sizes.images),
        n=sizes.images,
        devices=cores,
        repeats=7,
    )
    arguments = dict(images=sizes.images, batches=list(sizes.batches))
    flax = replace(
        fedmi,
        name="LeNet features/flax",
        rows=(2,),
        who="plain Flax convolutions",
        function="benchmarks.features:flax",
        arguments=arguments,
        relation="faster",
        base=fedmi.name,
        n=0,
    )
    torch = replace(
        flax,
        name="LeNet features/torch",
        who="PyTorch",
        function="benchmarks.peers_torch:features",
        arguments=arguments | dict(threads=cores),
        devices=1,
    )
    return Group("LeNet features", (fedmi, flax, torch), 60)


def _estimate(estimator: str, n: int, d: int, **more: Any) -> Item:
    item = Item(
        name=f"{estimator} d={d}/fedmi {n}",
        rows=(6,),
        what=f"{estimator}, three pairs",
        size=label(n, d),
        who="fedmi",
        function=f"benchmarks.estimation:{estimator.lower()}",
        arguments=dict(n=n, d=d),
        n=n,
    )
    return replace(item, **more)


def _with_null(base: Item, m: int, **more: Any) -> Item:
    item = replace(
        base,
        name=base.name.replace(" d=", " and null d=", 1),
        what=f"{base.what}, {m} re-pairings",
        arguments=base.arguments | dict(permutations=m),
        relation="repairing",
        base=base.name,
        m=m,
    )
    return replace(item, **more)


def _limit(base: Item, **more: Any) -> Item:
    """The bare products beneath an item."""
    return replace(base, who="limit", relation="limit", base=base.name, n=0, **more)


def _ksg(size: tuple[int, int], sizes: Sizes, cores: int, seconds: float) -> Group:
    n, d = size
    arguments = dict(n=n, d=d)
    fedmi = _estimate("KSG", n, d, rows=(3, 5, 6))
    null = _with_null(fedmi, sizes.ksg_m, rows=(5, 6))
    products = _limit(
        fedmi,
        name=f"KSG d={d}/products",
        rows=(3,),
        what="matrix products of all distances",
        function="benchmarks.estimation:distance_products",
    )
    trees = replace(
        products,
        name=f"KSG d={d}/trees",
        what=fedmi.what,
        who="SciPy's k-d trees",
        function="benchmarks.peers_scipy:ksg",
        arguments=arguments | dict(limit=sizes.tree_seconds, workers=cores),
        relation="faster",
        repeats=1,
    )
    return Group(f"KSG, {fedmi.size}", (products, fedmi, null, trees), seconds)


def _gaussian(size: tuple[int, int], sizes: Sizes) -> Group:
    n, d = size
    fedmi = _estimate("Gaussian", n, d, rows=(4, 5, 6), repeats=5)
    null = _with_null(fedmi, sizes.gaussian_m, rows=(5, 6), repeats=3)
    product = _limit(
        fedmi,
        name=f"Gaussian d={d}/covariance",
        rows=(4,),
        what="covariance product of all samples",
        function="benchmarks.estimation:covariance",
    )
    singular = replace(
        fedmi,
        name=f"Gaussian d={d}/nearly singular",
        rows=(4,),
        what="Gaussian, three pairs, nearly singular",
        arguments=fedmi.arguments | dict(decades=8),
        relation="above",
        base=product.name,
        n=0,
        repeats=3,
    )
    return Group(f"Gaussian, {fedmi.size}", (product, fedmi, null, singular), 70)


def _growth(sizes: Sizes, cores: int) -> list[Group]:
    """fedmi's items at the sizes that the other groups do not have."""
    seeds = 2 * sizes.tile * cores
    sampling = [
        _sampling(task, n, sizes, cores, repeats=1)
        for task in ("signal", "digits")
        for n in (seeds // 2, seeds * 2)
    ]
    full = _features(sizes, cores).items[0]
    features = [
        replace(
            full,
            name=f"LeNet features/fedmi {images}",
            rows=(6,),
            size=f"{images:,} images",
            arguments=dict(images=images),
            n=images,
        )
        for images in (sizes.images // 4, sizes.images // 2)
    ]
    groups = [Group("growth of sampling", tuple(sampling + features), 60)]
    for n, d in (sizes.signal, sizes.digits):
        items = []
        for part in (n // 4, n // 2):
            ksg, gaussian = _estimate("KSG", part, d, repeats=1), _estimate("Gaussian", part, d)
            items += [ksg, _with_null(ksg, sizes.ksg_m)]
            items += [gaussian, _with_null(gaussian, sizes.gaussian_m)]
        groups.append(Group(f"growth of estimation, d = {d}", tuple(items), 60))
    return groups


def _gpu(sizes: Sizes, cores: int) -> Group:
    """The whole of both studies' sampling and estimation on a GPU."""
    bases, items = [], []
    for row, task, (n, d) in ((1, "signal", sizes.signal), (2, "digits", sizes.digits)):
        bases += [
            _sampling(task, 2 * sizes.tile * cores, sizes, cores, rows=(row,)),
            _estimate("KSG", n, d, rows=(3,)),
            _estimate("Gaussian", n, d, rows=(4,)),
        ]
        items += [_sampling(task, n, replace(sizes, tile=sizes.gpu_tile), 1), *bases[-2:]]
    on_gpu = [
        replace(
            item,
            name=f"{item.name} on the GPU",
            rows=base.rows,
            who="fedmi on the GPU",
            relation="gpu",
            base=base.name,
            n=0,
            repeats=2,
            gpu=True,
        )
        for item, base in zip(items, bases, strict=True)
    ]
    return Group("GPU", tuple(on_gpu), 120)
