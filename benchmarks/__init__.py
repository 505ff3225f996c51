"""What fedmi costs beside other ways to the same numbers, and how far its numbers can be trusted.

`python -m benchmarks` measures fedmi beside other libraries: suite.py says what, runner.py times
it, table.py compares. A measured thing is a function that returns `work.Work`, in sampling.py and
estimation.py (fedmi's, plain Flax's and the bare limits), peers_torch.py and peers_neighbours.py
(other libraries'), federation.py and starts.py (first calls, `make study`); it runs in a process of
its own, worker.py.

    targets      how long every target of make takes
    coverage     how often intervals hold the truth
    proposition  how often the tests of Proposition 1 reject
    readings     which reading of the signal task is the default

are modules with commands of their own.
"""
