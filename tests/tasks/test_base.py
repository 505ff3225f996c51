import dataclasses

import pytest

from tests import tiny


def test_a_task_counts_its_steps_and_parameters():
    assert tiny.task.steps == 4
    assert tiny.task.parameter_count == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(batch_size=5), "batch_size: 5 does not divide the 16 examples"),
        (dict(batch_size=0), "batch_size: 0 is not a finite number above 0"),
        (dict(learning_rate=-1.0), "learning_rate: -1.0 is not a finite number above 0"),
        (dict(learning_rate=float("nan")), "learning_rate: nan is not a finite number above 0"),
        (dict(learning_rate=float("inf")), "learning_rate: inf is not a finite number above 0"),
        (dict(learning_rate=True), "learning_rate: True is not a finite number above 0"),
        (dict(examples=16.0), "examples: 16.0 is not a whole number"),
        (dict(epochs=0), "epochs: 0 is not a finite number above 0"),
        (dict(epochs=1.5), "epochs: 1.5 is not a whole number"),
        (dict(clip_norm=0.0), "clip_norm: 0.0 is not a finite number above 0"),
        (dict(streams={"init": "init"}), "0 streams play the part 'order'"),
        (dict(streams={"order": "order"}), "0 streams play the part 'init'"),
    ],
)
def test_an_impossible_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny.task, **changes)
