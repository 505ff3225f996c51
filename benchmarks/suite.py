"""What is measured, in which sizes, and what is compared with what.

The rows of the table:

    1  signal sampling      4  Gaussian mutual information
    2  digits sampling      5  the null by re-pairing
    3  KSG

An item may serve several rows. Items of one group take turns.
"""

from dataclasses import dataclass, replace

from benchmarks.runner import Group, Item

ROWS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        signal, digits: (N, d) of the estimators, as the two studies have them.
        tile: seeds a tile of fedmi's sampler.
        plain_seeds: seeds that the plain network trains in one run.
        torch_signal, torch_digits: clients that PyTorch's loops train in one run.
        ksg_m, gaussian_m: re-pairings.
        tree_seconds: what SciPy's trees may take at each size.
    """

    signal: tuple[int, int] = (22_000, 394)
    digits: tuple[int, int] = (26_400, 850)
    tile: int = 256
    plain_seeds: int = 64
    torch_signal: int = 6
    torch_digits: int = 60
    ksg_m: int = 4
    gaussian_m: int = 20
    tree_seconds: float = 50


TINY = Sizes(
    signal=(512, 20),
    digits=(600, 30),
    tile=2,
    plain_seeds=2,
    torch_signal=1,
    torch_digits=2,
    ksg_m=2,
    gaussian_m=2,
    tree_seconds=1,
)


def suite(sizes: Sizes, *, cores: int) -> list[Group]:
    """Everything that the table shows, at these sizes on so many processor cores."""
    return [
        _signal(sizes, cores),
        _digits(sizes, cores),
        _ksg(*sizes.signal, sizes, cores, seconds=200),
        _ksg(*sizes.digits, sizes, cores, seconds=340),
        _gaussian(*sizes.signal, sizes),
        _gaussian(*sizes.digits, sizes),
    ]


def _signal(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("signal", sizes.tile, cores, row=1)
    tile = max(sizes.plain_seeds // cores, 1)
    seeds = tile * cores
    plain = replace(fedmi, base=fedmi, size=_seeds(seeds))
    at_once = replace(
        plain,
        who="plain Flax under jax.vmap",
        function="benchmarks.sampling:plain_vmap",
        arguments=dict(seeds=seeds),
        devices=1,
    )
    in_tiles = replace(
        plain,
        who="plain Flax in fedmi's tiles",
        arguments=dict(task="benchmarks.sampling:plain_signal", seeds=seeds, tile=tile),
    )
    loop = _loop(fedmi, sizes.torch_signal, threads=[1, cores])
    loops = replace(
        loop,
        who="PyTorch loops, one a core",
        arguments=loop.arguments | dict(threads=[1]),
        copies=cores,
    )
    return Group((fedmi, at_once, in_tiles, loop, loops), 150)


def _digits(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("digits", sizes.tile, cores, row=2)
    loop = _loop(fedmi, sizes.torch_digits, threads=[1, cores])
    head = replace(
        loop,
        who="PyTorch loop, features given",
        arguments=loop.arguments | dict(ready=True),
    )
    return Group((fedmi, loop, head), 120)


def _sampling(task: str, tile: int, cores: int, row: int) -> Item:
    seeds = 2 * tile * cores
    return Item(
        rows=(row,),
        what=f"{task} sampling",
        size=_seeds(seeds),
        function="benchmarks.sampling:tiles",
        arguments=dict(task=task, seeds=seeds, tile=tile),
        devices=cores,
    )


def _seeds(count: int) -> str:
    return f"{count:,} seeds, 3 clients"


def _loop(fedmi: Item, clients: int, threads: list[int]) -> Item:
    return replace(
        fedmi,
        base=fedmi,
        who="PyTorch loop",
        size=f"{clients} clients",
        function=f"benchmarks.peers_torch:{fedmi.arguments['task']}",
        arguments=dict(trainings=clients, threads=threads),
        devices=1,
    )


def _ksg(n: int, d: int, sizes: Sizes, cores: int, seconds: float) -> Group:
    what = "matrix products of all distances"
    limit, fedmi, null = _estimates("KSG", 3, n, d, sizes.ksg_m, what, "distance_products")
    trees = replace(
        fedmi,
        rows=(3,),
        who="SciPy's k-d trees",
        function="benchmarks.peers_scipy:ksg",
        arguments=fedmi.arguments | dict(limit=sizes.tree_seconds, workers=cores),
        base=fedmi,
        repeats=1,
    )
    return Group((limit, fedmi, null, trees), seconds)


def _gaussian(n: int, d: int, sizes: Sizes) -> Group:
    what = "covariance product of all samples"
    limit, fedmi, null = _estimates("Gaussian", 4, n, d, sizes.gaussian_m, what, "covariance")
    singular = replace(
        fedmi,
        rows=(4,),
        what=f"{fedmi.what}, nearly singular",
        arguments=fedmi.arguments | dict(decades=8),
        base=limit,
        relation="above",
    )
    return Group((limit, fedmi, null, singular), 70)


def _estimates(
    estimator: str, row: int, n: int, d: int, m: int, products: str, function: str
) -> tuple[Item, Item, Item]:
    """The bare products beneath an estimate, the estimate, and it with m re-pairings."""
    fedmi = Item(
        rows=(row, 5),
        what=f"{estimator}, three pairs",
        size=f"N = {n:,}, d = {d}",
        function=f"benchmarks.estimation:{estimator.lower()}",
        arguments=dict(n=n, d=d),
    )
    limit = replace(
        fedmi,
        rows=(row,),
        what=products,
        who="limit",
        function=f"benchmarks.estimation:{function}",
        base=fedmi,
        relation="limit",
    )
    null = replace(
        fedmi,
        rows=(5,),
        what=f"{fedmi.what}, {m} re-pairings",
        arguments=fedmi.arguments | dict(permutations=m),
        base=fedmi,
        relation="repairing",
    )
    return limit, fedmi, null
