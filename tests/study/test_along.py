import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.sampling.replay import unraveller
from fedmi.study import along
from fedmi.study.settings import Training
from fedmi.study.ways import AVERAGE
from tests import tiny
from tests.study.test_settings import GOOD

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SEEDS = 600


def test_clients_go_on_from_the_download():
    download = np.arange(float(tiny.SIZE)).astype(np.float32)
    task = along.from_download(tiny.task, download)
    assert "init" not in task.streams and task.parameter_count == tiny.SIZE
    samples = fedmi.sample(task, seeds=4, checkpoints=[1])
    own = fedmi.sample(tiny.task, seeds=4, checkpoints=[1])
    kept = 1 - tiny.task.learning_rate
    moved = (samples.theta - own.theta).values
    expected = np.broadcast_to(kept * download, moved.shape)
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)
    assert unraveller(task)(download)["w"].shape == (2, 4)


@pytest.fixture(scope="module")
def rows():
    given = dict(judged_seeds=4, along=[1, 3], along_seeds=SEEDS)
    of = Training(**GOOD | given)
    found = along.measure(of, of.settings[0], 1.0)
    return pd.DataFrame(found).set_index(["round", "quantity"])


def test_the_known_mutual_information_is_read(rows):
    truth = tiny.mi_bits(tiny.task, 4)
    for number in (1, 3):
        assert abs(rows.value[number, "mi"] - truth) < 4 * rows.se[number, "mi"]
    assert list(rows.loc[1].index) == list(along.QUANTITIES)


def test_the_loss_barrier_is_that_of_a_parabola(rows):
    """Of |theta - x|^2 / 2 it is minus an eighth of the squared distance of the two clients."""
    weights = tiny.task.learning_rate * (1 - tiny.task.learning_rate) ** np.arange(4)
    apart = 2 * tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)
    # In an epoch all of a client's data are seen, so that its place is one of its own data.
    for number in (1, 3):
        found = rows.loc[number, "barrier"]
        assert abs(found.value + tiny.SIZE * apart / 8) < 5 * found.se


def test_updates_from_the_origin_are_as_alike_as_their_correlation(rows):
    found = rows.loc[1, "cosine"]
    assert abs(found.value - tiny.correlation(tiny.task, 4)) < 0.05  # of vectors of twelve numbers
    assert 0 < rows.loc[1, "closer"].value < 1


def test_dishonest_settings_are_not_read(tmp_path):
    attacked = dict(name="attacked", attack="far point", dishonest=1)
    of = Training(**GOOD | dict(along_seeds=0, settings=[dict(name="first"), attacked]))
    assert along.run(of, tmp_path, {}) == []


def table(values, gains):
    names = [f"s{i}" for i in range(len(values))]
    read = pd.DataFrame(dict(task="t", setting=names, round=1, quantity="mi", value=values, se=1.0))
    return read, pd.DataFrame(dict(setting=names, way=AVERAGE, gain=gains, rise=2.0))


def test_a_link_is_a_rank_correlation_with_the_p_of_all_orders():
    values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    (row,) = along.link_rows(*table(values, np.sqrt(values)))
    assert row["spearman"] == pytest.approx(1) and row["settings"] == 6
    assert row["p_value"] == pytest.approx(2 / 720, rel=0.01)  # two of all orders reach as far
    (row,) = along.link_rows(*table(values, [3.0, 1.0, 2.0, 2.5, 0.0, 2.2]))
    assert row["p_value"] > 0.3


def test_no_link_is_told_from_few_settings():
    assert along.link_rows(*table([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])) == []
