from pathlib import Path

from fedmi.scopes import COUPLINGS
from fedmi.study import own_study
from fedmi.study.params import KINDS, Case, Study
from fedmi.study.points import Level
from fedmi.study.settings import Setting

PAGE = Path(__file__).parents[2] / "docs" / "own-study.md"


def test_the_committed_page_is_what_the_plans_say():
    assert PAGE.read_text() == own_study.page()


def test_every_key_and_coupling_is_explained():
    page = own_study.page()
    for kind in (Study, Case, Level, Setting, *KINDS.values()):
        for name, field in kind.model_fields.items():
            assert f"\n| `{name}` |" in page
            assert field.description and field.description.endswith("."), (kind, name)
    for coupling in COUPLINGS:
        assert f"\n| `{coupling}` |" in page
