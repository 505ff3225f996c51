"""What all tests share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Trained weights go to a folder of the session's own, never from or to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDMI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
