"""Which folder a watched path is now: known, new, or away."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinwatch.config import Settings, Watch
from twinwatch.errors import ConfigError
from twinwatch.fs import folder_id, why_unusable
from twinwatch.service.startup import require_known_roots
from twinwatch.store import Catalog, RootOfflineError, resolve_root

NOW_NS, LATER_NS = 10**18, 10**18 + 5


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.db")
    yield catalog
    catalog.close()


def test_a_first_time_makes_it_known(share: Path, catalog: Catalog) -> None:
    root = resolve_root(share, catalog, NOW_NS, starting=True)
    assert root.path == os.fsencode(share)
    assert root.folder == (share.stat().st_dev, share.stat().st_ino)
    assert root.watched_ns == NOW_NS
    assert catalog.roots(share) == [root]


def test_it_is_known_again(share: Path, catalog: Catalog) -> None:
    root = resolve_root(share, catalog, NOW_NS, starting=True)
    assert resolve_root(share, catalog, LATER_NS, starting=True) == root
    assert resolve_root(share, catalog, LATER_NS, starting=False) == root
    assert len(catalog.roots()) == 1


@pytest.mark.parametrize("starting", [True, False])
def test_a_folder_made_anew_on_the_same_device_is_another_root(share: Path, catalog: Catalog, starting: bool) -> None:
    first = resolve_root(share, catalog, NOW_NS, starting=True)
    share.rename(share.with_name("old"))
    share.mkdir()
    second = resolve_root(share, catalog, LATER_NS, starting)
    assert second.id != first.id
    assert second.watched_ns == LATER_NS

    shutil.rmtree(share)
    share.with_name("old").rename(share)
    assert resolve_root(share, catalog, LATER_NS, starting=False) == first


def pretend_device(catalog: Catalog, share: Path, device: int, inode: int) -> int:
    """Make the share known as another device's folder; return the root's id."""
    return catalog.add_root(share, (device, inode), NOW_NS).id


def test_another_device_in_its_place_is_away(share: Path, catalog: Catalog) -> None:
    device, inode = folder_id(share)
    known = pretend_device(catalog, share, device + 1, inode + 1)
    for starting in (True, False):
        with pytest.raises(RootOfflineError, match=r"on another device.*twinwatch rebuild"):
            resolve_root(share, catalog, LATER_NS, starting)
    assert [root.id for root in catalog.roots()] == [known]
    assert catalog.roots()[0].folder == (device + 1, inode + 1)


def test_another_number_of_the_device_is_taken_over_at_the_start_only(share: Path, catalog: Catalog) -> None:
    device, inode = folder_id(share)
    known = pretend_device(catalog, share, device + 1, inode)
    with pytest.raises(RootOfflineError):
        resolve_root(share, catalog, LATER_NS, starting=False)
    root = resolve_root(share, catalog, LATER_NS, starting=True)
    assert (root.id, root.folder, root.watched_ns) == (known, (device, inode), NOW_NS)


def test_an_earlier_folder_that_returns_is_known_even_from_another_device(share: Path, catalog: Catalog) -> None:
    first = resolve_root(share, catalog, NOW_NS, starting=True)
    device, inode = folder_id(share)
    pretend_device(catalog, share, device + 1, inode + 1)
    assert resolve_root(share, catalog, LATER_NS, starting=False) == first


def test_a_folder_that_is_not_there_is_away(share: Path, catalog: Catalog) -> None:
    known = resolve_root(share, catalog, NOW_NS, starting=True)
    share.rmdir()
    with pytest.raises(RootOfflineError, match="No such file or directory; bring it back"):
        resolve_root(share, catalog, LATER_NS, starting=True)
    share.touch()
    with pytest.raises(RootOfflineError, match="Not a directory"):
        resolve_root(share, catalog, LATER_NS, starting=True)
    assert catalog.roots(share) == [known]


def test_each_path_has_roots_of_its_own(tmp_path: Path, share: Path, catalog: Catalog) -> None:
    other = tmp_path / "other"
    other.mkdir()
    one, two = (resolve_root(path, catalog, NOW_NS, starting=True) for path in (share, other))
    assert one.id != two.id
    assert catalog.roots(other) == [two]


# What the configuration names and nobody can have


def test_a_folder_that_is_there_has_no_obstacle(share: Path) -> None:
    assert why_unusable(share) == ""


def test_an_obstacle_says_what_to_do(tmp_path: Path, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert why_unusable(tmp_path / "none").startswith(f"no such folder: {tmp_path / 'none'}; create it, mount it")
    assert why_unusable(tmp_path / "file") == f"not a folder: {tmp_path / 'file'}"
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as for a user that is not root
    assert "cannot be read by the user" in why_unusable(share)


def test_only_a_missing_folder_that_was_never_watched_is_refused(share: Path, tmp_path: Path, catalog: Catalog) -> None:
    resolve_root(share, catalog, NOW_NS, starting=True)
    catalog.commit()
    share.rmdir()
    new = tmp_path / "new"
    source = tmp_path / "config.yaml"
    require_known_roots(Settings(watch=(Watch(path=share),)), source, catalog.path)
    settings = Settings(watch=(Watch(path=share), Watch(path=new)))
    with pytest.raises(ConfigError) as caught:
        require_known_roots(settings, source, catalog.path)
    assert str(caught.value) == f"{source} is refused:\n  watch[1].path: {why_unusable(new)}"
    with pytest.raises(ConfigError, match=r"watch\[0\].path: no such folder"):
        require_known_roots(settings, source, tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
