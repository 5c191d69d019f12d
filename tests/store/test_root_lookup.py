"""Which folder a watched path is now: known, new, or away."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinwatch.fs import folder_id
from twinwatch.store import RootOfflineError, Store, open_store, resolve_root

NOW_NS, LATER_NS = 10**18, 10**18 + 5


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


def test_a_first_time_makes_it_known(share: Path, store: Store) -> None:
    root = resolve_root(share, store, NOW_NS, starting=True)
    assert root.path == os.fsencode(share)
    assert root.folder == (share.stat().st_dev, share.stat().st_ino)
    assert root.watched_ns == NOW_NS
    assert store.roots.all(share) == [root]


def test_it_is_known_again(share: Path, store: Store) -> None:
    root = resolve_root(share, store, NOW_NS, starting=True)
    assert resolve_root(share, store, LATER_NS, starting=True) == root
    assert resolve_root(share, store, LATER_NS, starting=False) == root
    assert len(store.roots.all()) == 1


@pytest.mark.parametrize("starting", [True, False])
def test_a_folder_made_anew_on_the_same_device_is_another_root(share: Path, store: Store, starting: bool) -> None:
    first = resolve_root(share, store, NOW_NS, starting=True)
    share.rename(share.with_name("old"))
    share.mkdir()
    second = resolve_root(share, store, LATER_NS, starting)
    assert second.id != first.id
    assert second.watched_ns == LATER_NS

    shutil.rmtree(share)
    share.with_name("old").rename(share)
    assert resolve_root(share, store, LATER_NS, starting=False) == first


def pretend_device(store: Store, share: Path, device: int, inode: int) -> int:
    """Make the share known as another device's folder; return the root's id."""
    return store.roots.add(share, (device, inode), NOW_NS).id


def test_another_device_in_its_place_is_away(share: Path, store: Store) -> None:
    device, inode = folder_id(share)
    known = pretend_device(store, share, device + 1, inode + 1)
    for starting in (True, False):
        with pytest.raises(RootOfflineError, match=r"on another device.*twinwatch rebuild"):
            resolve_root(share, store, LATER_NS, starting)
    assert [root.id for root in store.roots.all()] == [known]
    assert store.roots.all()[0].folder == (device + 1, inode + 1)


def test_another_number_of_the_device_is_taken_over_at_the_start_only(share: Path, store: Store) -> None:
    device, inode = folder_id(share)
    known = pretend_device(store, share, device + 1, inode)
    with pytest.raises(RootOfflineError):
        resolve_root(share, store, LATER_NS, starting=False)
    root = resolve_root(share, store, LATER_NS, starting=True)
    assert (root.id, root.folder, root.watched_ns) == (known, (device, inode), NOW_NS)


def test_an_earlier_folder_that_returns_is_known_even_from_another_device(share: Path, store: Store) -> None:
    first = resolve_root(share, store, NOW_NS, starting=True)
    device, inode = folder_id(share)
    pretend_device(store, share, device + 1, inode + 1)
    assert resolve_root(share, store, LATER_NS, starting=False) == first


def test_a_folder_that_is_not_there_is_away(share: Path, store: Store) -> None:
    known = resolve_root(share, store, NOW_NS, starting=True)
    share.rmdir()
    with pytest.raises(RootOfflineError, match="No such file or directory; bring it back"):
        resolve_root(share, store, LATER_NS, starting=True)
    share.touch()
    with pytest.raises(RootOfflineError, match="Not a directory"):
        resolve_root(share, store, LATER_NS, starting=True)
    assert store.roots.all(share) == [known]


def test_each_path_has_roots_of_its_own(tmp_path: Path, share: Path, store: Store) -> None:
    other = tmp_path / "other"
    other.mkdir()
    one, two = (resolve_root(path, store, NOW_NS, starting=True) for path in (share, other))
    assert one.id != two.id
    assert store.roots.all(other) == [two]
