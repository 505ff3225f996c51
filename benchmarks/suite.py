"""What is measured, in which sizes, and what is compared with what.

The rows of the table:

    1  signal sampling      5  the null by re-pairing
    2  digits sampling      6  a small federation
    3  KSG                  7  the first call of a process
    4  Gaussian formula     8  `make study`

An item may serve several rows. Items of one group take turns.
"""

from dataclasses import dataclass, replace

from benchmarks.runner import Group, Item

ROWS = (1, 2, 3, 4, 5, 6, 7, 8)
PRODUCTS = "matrix products of all distances"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        signal, digits: (N, d) of the estimators, as the two studies have them.
        tile: seeds a tile of fedmi's sampler.
        plain_seeds: seeds that the plain network trains in one run.
        torch_signal, torch_digits: clients that PyTorch's loops train in one run.
        ksg_m, gaussian_m: re-pairings.
        calibrated: draws of a calibration at the size of `digits`.
        peers: (N, d) at which other libraries estimate.
        federations: seeds of the small federation.
        first_seeds: seeds of a first call.
        scale: of `make study`.
    """

    signal: tuple[int, int] = (22_000, 394)
    digits: tuple[int, int] = (26_400, 850)
    tile: int = 256
    plain_seeds: int = 64
    torch_signal: int = 6
    torch_digits: int = 60
    ksg_m: int = 2
    gaussian_m: int = 99
    calibrated: int = 2
    peers: tuple[int, int] = (2_000, 394)
    federations: int = 20
    first_seeds: int = 1_000
    scale: str = "quick"


TINY = Sizes(
    signal=(512, 20),
    digits=(600, 30),
    tile=2,
    plain_seeds=2,
    torch_signal=1,
    torch_digits=2,
    ksg_m=2,
    gaussian_m=8,
    peers=(300, 20),
    federations=2,
    first_seeds=8,
)


def suite(sizes: Sizes, *, cores: int) -> list[Group]:
    """Everything that the table shows, at these sizes on so many processor cores."""
    return [  # what takes long comes last, where the time for repeats is over
        _signal(sizes, cores),
        _digits(sizes, cores),
        _others(*sizes.peers),
        _gaussian(*sizes.signal, sizes),
        _gaussian(*sizes.digits, sizes),
        _federation(sizes),
        *(_calls(task, sizes, cores) for task in ("signal", "digits")),
        _ksg(*sizes.signal, sizes, repaired=True),
        _ksg(*sizes.digits, sizes, repaired=False),
        _study(sizes, cores),
        _calibration(*sizes.digits, sizes),
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
    return Group((fedmi, at_once, in_tiles, loop, loops), 20)


def _digits(sizes: Sizes, cores: int) -> Group:
    fedmi = _sampling("digits", sizes.tile, cores, row=2)
    loop = _loop(fedmi, sizes.torch_digits, threads=[1, cores])
    head = replace(
        loop,
        who="PyTorch loop, features given",
        arguments=loop.arguments | dict(ready=True),
    )
    return Group((fedmi, loop, head), 30)


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


def _ksg(n: int, d: int, sizes: Sizes, repaired: bool) -> Group:
    limit, fedmi, null = _estimates("KSG", 3, n, d, sizes.ksg_m, PRODUCTS, "distance_products")
    null = replace(null, base=fedmi, relation="repairing")
    return Group((limit, fedmi, *([null] if repaired else [])), 20)


def _calibration(n: int, d: int, sizes: Sizes) -> Group:
    """At the size of the larger study: the other takes a third of its time."""
    made = Item(
        rows=(3,),
        what="calibration of one pair, report and all",
        size=f"N = {n:,}, d = {d}",
        function="benchmarks.estimation:calibrated",
        arguments=dict(n=n, d=d, draws=sizes.calibrated),
        repeats=1,
    )
    return Group((made,), 0)


def _others(n: int, d: int) -> Group:
    """The max-norm, and what other libraries and a user take, at a size that they can do."""
    limit, fedmi, _ = _estimates("KSG", 3, n, d, 0, PRODUCTS, "distance_products")
    fedmi = replace(fedmi, rows=(3,))
    limit = replace(limit, base=fedmi)
    far = replace(
        fedmi,
        what="KSG in the max-norm, three pairs",
        arguments=fedmi.arguments | dict(metric="chebyshev"),
        base=limit,
        relation="above",
    )
    ways = {
        "NumPy's products, by brute force": ("euclidean", fedmi),
        "scikit-learn, by brute force": ("chebyshev", far),
        "NPEET": ("npeet", far),
    }
    peers = [
        replace(
            base,
            who=who,
            function="benchmarks.peers_neighbours:ksg",
            arguments=dict(n=n, d=d, way=way),
            base=base,
            relation="faster",
            repeats=1,
        )
        for who, (way, base) in ways.items()
    ]
    return Group((limit, fedmi, far, *peers), 30)


def _gaussian(n: int, d: int, sizes: Sizes) -> Group:
    what = "covariance product of all samples"
    limit, fedmi, null = _estimates("Gaussian", 4, n, d, sizes.gaussian_m, what, "covariance")
    one = replace(
        limit,
        rows=(5,),
        what="one product for each pair",
        size=fedmi.size,
        function="benchmarks.estimation:cross_products",
        base=None,
    )
    null = replace(null, function="benchmarks.estimation:repaired", base=one, relation="above")
    singular = replace(
        fedmi,
        rows=(4,),
        what=f"{fedmi.what}, nearly singular",
        arguments=fedmi.arguments | dict(decades=8),
        base=limit,
        relation="above",
    )
    return Group((limit, fedmi, one, null, singular), 30)


def _federation(sizes: Sizes) -> Group:
    items = []
    for when in ("first call", "second call"):
        given = dict(seeds=sizes.federations, first=when == "first call")
        fedmi = Item(
            rows=(6,),
            what=f"perceptron 16-32-1, 10 clients, 5 rounds, {when}",
            size=f"{sizes.federations} seeds",
            function="benchmarks.federation:by_fedmi",
            arguments=given,
            repeats=1,
        )
        function = "benchmarks.federation:by_jax"
        items += [fedmi, replace(fedmi, who="plain JAX", function=function, base=fedmi)]
    return Group(tuple(items), 60)


def _calls(task: str, sizes: Sizes, cores: int) -> Group:
    whens = {
        "first": "first call, nothing cached",
        "again": "the same call again",
        "cached": "first call of another process",
    }
    return Group(
        tuple(
            Item(
                rows=(7,),
                what=f"fedmi.sample of {task}, {when}",
                size=f"{sizes.first_seeds:,} seeds, 3 clients",
                function="benchmarks.starts:sampling",
                arguments=dict(task=task, seeds=sizes.first_seeds, call=call),
                devices=cores,
                repeats=2,
            )
            for call, when in whens.items()
        ),
        40,
    )


def _study(sizes: Sizes, cores: int) -> Group:
    made = Item(
        rows=(8,),
        what="make study, nothing cached",
        size=f"params/{sizes.scale}",
        function="benchmarks.starts:study",
        arguments=dict(scale=sizes.scale, cores=cores),
        repeats=1,
    )
    return Group((made,), 600)


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
    )
    return limit, fedmi, null
