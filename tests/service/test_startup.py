"""What is refused before the daemon starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from twinwatch.config import Settings, Watch
from twinwatch.errors import ConfigError
from twinwatch.fs import why_unusable
from twinwatch.service.startup import require_known_roots
from twinwatch.store import Store, open_store, resolve_root

NOW_NS = 10**18


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "catalog.db")
    yield store
    store.close()


def test_only_a_missing_folder_that_was_never_watched_is_refused(share: Path, tmp_path: Path, store: Store) -> None:
    resolve_root(share, store, NOW_NS, starting=True)
    store.commit()
    share.rmdir()
    new = tmp_path / "new"
    source = tmp_path / "config.yaml"
    require_known_roots(Settings(watch=(Watch(path=share),)), source, store.path)
    settings = Settings(watch=(Watch(path=share), Watch(path=new)))
    with pytest.raises(ConfigError) as caught:
        require_known_roots(settings, source, store.path)
    assert str(caught.value) == f"{source} is refused:\n  watch[1].path: {why_unusable(new)}"
    with pytest.raises(ConfigError, match=r"watch\[0\].path: no such folder"):
        require_known_roots(settings, source, tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
