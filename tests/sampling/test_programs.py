import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

import fedmi
from fedmi import devices, tasks
from fedmi.sampling import download, programs, tiles
from fedmi.sampling.design import Design
from fedmi.sampling.programs import Itself, Program, streams_read
from fedmi.sampling.training import training
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def program(task=tiny.task, **options):
    return training([Design.of(task, **options)])


def test_programs_are_one_where_they_depend_on_the_same():
    assert program() == program() and hash(program()) == hash(program())
    # The root key is given to them.
    assert program(root_seed=1) == program(root_seed=2)
    assert program("signal") == program(tasks.get("signal", batch_size=5))
    assert training([Design.of("signal")]) != training([Design.of("signal")] * 2)


@pytest.mark.parametrize(
    "changes",
    [
        dict(task=dataclasses.replace(tiny.task, learning_rate=0.2)),
        dict(task=dataclasses.replace(tiny.task, name="other")),
        dict(task=tiny.make()),  # functions made anew may do something else
        dict(coupling="null"),
        dict(clients=2),
        dict(checkpoints=[1, 2]),
        dict(rounds=2),
        dict(rounds=2, aggregator="coordinate_median"),
        dict(examples=[16, 16, 8]),
    ],
    ids=lambda changes: " ".join(changes),
)
def test_programs_differ_where_they_depend_on_something_else(changes):
    same = program(rounds=2) if "aggregator" in changes else program()
    assert same != program(**changes)


def test_what_compares_equal_is_not_itself():
    class Equal:
        __hash__ = None

        def __eq__(self, other):
            return True

    one, other = Equal(), Equal()
    assert Itself(one) == Itself(one) and Itself(one) != Itself(other)
    assert Program(len, Itself(one)) != Program(len, Itself(other))


def test_a_task_s_numbers_may_come_in_any_type():
    changes = dict(targets=["a"], target_errors=lambda params, batch: batch[0], baseline=[1.0])
    task = dataclasses.replace(tiny.task, **changes)
    assert program(task) == program(task) and program(task) != program()


def test_a_store_that_is_whole_needs_no_download(tmp_path, monkeypatch):
    settings = dict(seeds=6, checkpoints=[2], tile=4, store=tmp_path / "a.zarr")
    first = fedmi.sample(tiny.task, **settings)
    monkeypatch.setattr(download, "fixed", lambda design: pytest.fail("drawn again"))
    np.testing.assert_array_equal(fedmi.sample(tiny.task, **settings).theta, first.theta)


def test_a_second_call_compiles_nothing():
    settings = dict(seeds=6, checkpoints=[2], tile=4)
    first = fedmi.sample(tiny.task, **settings)
    before = devices.jit(tiles._over_blocks)._cache_size()
    again = fedmi.sample(tiny.task, root_seed=7, **settings)
    assert devices.jit(tiles._over_blocks)._cache_size() == before
    assert not np.array_equal(first.theta, again.theta)


def test_streams_that_are_read_are_told():
    def draws(keys, assets):
        return {"a": jax.random.normal(keys["a"]) + assets, "b": keys["b"], "c": 1.0}

    assert streams_read(draws, ["c", "b", "a"], np.float32(2)) == ["a", "b"]


def drawn(keys):
    return tiny.init(keys) | dict(b=jax.random.normal(keys["init"], (4,), np.float32))


def test_a_download_that_is_one_for_all_is_drawn_once():
    task = dataclasses.replace(tiny.task, init=drawn)
    design = Design.of(task, root_seed=3)
    assert design.scopes["init"] == "fixed"
    found = download.fixed(design)
    expected = drawn(design.keys(seed=5, client=1))
    np.testing.assert_allclose(found["b"], expected["b"], rtol=1e-6)
    (begun,) = download.starting([design], [found])
    np.testing.assert_array_equal(begun.task.init({})["b"], found["b"])
    assert download.starting([design], [None]) == [design]


@pytest.mark.parametrize("coupling", ["shared-init", "independent"])
def test_a_download_that_differs_is_drawn_with_the_rest(coupling):
    task = dataclasses.replace(tiny.task, init=drawn)
    assert download.fixed(Design.of(task, coupling=coupling)) is None
    # `init` may have the scope and not be drawn from.
    assert download.fixed(Design.of(tiny.task, coupling=coupling)) is not None


def test_a_download_that_is_drawn_from_other_streams_is_not_fixed():
    task = dataclasses.replace(
        tiny.task,
        init=lambda keys: (
            tiny.init(keys) | dict(b=jax.random.normal(keys["source"], (4,), np.float32))
        ),
    )
    assert download.fixed(Design.of(task)) is None


@pytest.mark.parametrize("coupling", ["shared-source", "shared-init"])
def test_samples_are_those_of_downloads_that_are_drawn_with_the_rest(coupling, monkeypatch):
    task = dataclasses.replace(tiny.task, init=drawn)
    settings = dict(seeds=6, coupling=coupling, checkpoints=[1, 4], tile=4)
    found = fedmi.sample(task, **settings).theta
    monkeypatch.setattr(download, "fixed", lambda design: None)
    np.testing.assert_allclose(
        found, fedmi.sample(task, **settings).theta, rtol=0, atol=tiny.ROUNDING
    )


def maps():
    """In how many pieces memory is mapped into this process."""
    return Path("/proc/self/maps").read_text().count("\n")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux alone tells")
def test_very_many_programs_do_not_use_up_a_process(monkeypatch):
    """A run of hundreds of settings compiles as many, of which the last are kept."""
    monkeypatch.setattr(programs, "KEPT", 4)

    def run(count):
        for power in range(count):
            of = Program(lambda x, power=power: x ** (power + 2), (count, power))
            assert programs.compiled(of, np.float32(1)) == 1
        return maps()

    run(2)  # what is mapped once
    few = run(4)
    # Kept, forty would take ten times as many.
    grown = run(40) - few
    with monkeypatch.context() as unbounded:
        unbounded.setattr(programs, "KEPT", 1000)
        assert grown < (run(41) - few) / 3


def test_what_was_forgotten_is_compiled_again(monkeypatch):
    monkeypatch.setattr(programs, "KEPT", 1)
    one, other = (Program(lambda x, add=add: x + add, ("added", add)) for add in (1, 2))
    assert [programs.compiled(of, np.int32(1)) for of in (one, other, one)] == [2, 3, 2]
    first, second = (fedmi.sample(tiny.task, seeds=20, tile=20).theta.values for _ in range(2))
    np.testing.assert_array_equal(first, second)
