"""What fedmi costs beside other ways to the same numbers, and beside what no way can avoid.

`python -m benchmarks` measures everything in one run on one machine and writes one table of ratios.

    suite.py      what is measured, in which sizes, and what is compared with what
    runner.py     one process an item; the items of a group take turns
    worker.py     such a process
    table.py      medians, ratios, exponents; the table as CSV and as Markdown
    sampling.py, features.py, estimation.py     fedmi's items, plain JAX's and the bare limits
    peers_torch.py, peers_scipy.py              other libraries' items

`python -m benchmarks.scale_up` does so for sampling larger networks and more clients, and
`python -m benchmarks.processes` for a second process on a second core.

`python -m benchmarks.scaling` maps how the cost of every stage grew where it was measured.

    scaling.py        at which sizes each stage is measured
    stages.py         a stage, in a process of its own
    scaling_words.py  the page
"""
