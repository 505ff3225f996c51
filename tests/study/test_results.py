import numpy as np
import pandas as pd
import pytest

from fedmi.study import results


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "table.csv"
    written = results.write([dict(a=1.5, b="é")], path, ["b", "a"])
    assert path.read_text(encoding="utf-8") == "b,a\né,1.5\n"
    pd.testing.assert_frame_equal(results.read_csv(path), written)
    (tmp_path / "folder" / ".table.csv.draft").mkdir()  # stands in the way
    with pytest.raises(OSError):
        results.write_whole(path, "another")
    pd.testing.assert_frame_equal(results.read_csv(path), written)


@pytest.mark.parametrize("cut", ["", "a,b\n1,2\n3", "a,b\n1,2\n3,4", "a,b\n1,\0\0\n", "\n"])
def test_a_torn_table_is_no_shorter_table(tmp_path, cut):
    path = tmp_path / "table.csv"
    path.write_text(cut)
    with pytest.raises(ValueError, match="table.csv is empty, cut short or damaged; remove it"):
        results.read_csv(path)


@pytest.mark.parametrize("cut", ["", '{"seeds": 2', "[1, 2]", "\0\0"])
def test_torn_json_is_named(tmp_path, cut):
    path = tmp_path / "manifest.json"
    path.write_text(cut)
    with pytest.raises(ValueError, match="manifest.json is empty, cut short or damaged"):
        results.read_json(path, dict)
    path.write_text('{"seeds": 2}')
    assert results.read_json(path, dict) == {"seeds": 2}


def test_a_missing_table_says_what_makes_it(tmp_path):
    how = results.made_by("02_estimate_mi", "params/quick/signal.yaml")
    with pytest.raises(results.MissingResults, match="02_estimate_mi .*make study SCALE=quick"):
        results.read_csv(tmp_path / "mi.csv", how)


def test_what_is_kept_is_made_again_for_another_basis_or_if_it_is_torn(tmp_path):
    path = tmp_path / "parts" / "1.json"
    made = []

    def make():
        made.append(len(made))
        table = pd.DataFrame(dict(x=[1 / 3, np.nan, np.inf], name=["null", "", "é"]))
        return dict(table=table, values=np.arange(3), call=made[-1])

    first = results.kept(path, dict(seeds=np.int64(4)), make)
    assert first["values"] == [0, 1, 2]
    kept = pd.DataFrame(first["table"])
    pd.testing.assert_frame_equal(kept, make()["table"], check_exact=True)
    made.pop()
    assert results.kept(path, dict(seeds=4), lambda: pytest.fail("made again"))["call"] == 0
    assert results.kept(path, dict(seeds=5), make)["call"] == 1
    whole = path.read_text()
    for torn in ("", whole[: len(whole) // 2], "[]", "{}"):
        path.write_text(torn)
        assert results.kept(path, dict(seeds=5), make)["call"] == len(made) - 1
    assert len(made) == 6


def test_levels_that_look_like_numbers_are_read_as_the_names_that_they_are(tmp_path):
    table = pd.DataFrame({"by dropout": ["0.0625", "0", "0.25"], "value": [1.0, 2.0, 3.0]})
    results.write(table, tmp_path / "x.csv")
    found = results.read_csv(tmp_path / "x.csv")
    assert found["by dropout"].tolist() == ["0.0625", "0", "0.25"]
    assert found.value.dtype == float
