"""The walk: what is new, changed and gone, and when nothing may be believed to be gone."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twinwatch.config import Watch
from twinwatch.fs import files, folder_id, identity
from twinwatch.store import QueueState, Root, Store, open_store
from twinwatch.watching import ChangedFile, PathFilter, scan, scan_root
from twinwatch.watching.scan import ScanResult


class Share:
    """A folder, its store, and scans of it."""

    def __init__(self, path: Path, store: Store) -> None:
        path.mkdir()
        self.path = path
        self.store = store
        self.root: Root = store.roots.add(path, folder_id(path), 1)
        self.found: list[ChangedFile] = []

    def write(self, name: str, data: bytes = b"x") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def scan(self, **watch: Any) -> ScanResult:
        """Scan, and take in all that was found, as judging would."""
        self.found = []
        settings = Watch.model_validate({"path": self.path} | watch)
        result = scan_root(settings, self.root, self.store, self.found.append, lambda: False)
        for found in self.found:
            self.store.queue.add(self.root.id, found.path, found.seen, False, 1, QueueState.WAITING)
        self.store.commit()
        return result

    @property
    def paths(self) -> list[bytes]:
        return sorted(found.path for found in self.found)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    store = open_store(tmp_path / "catalog.db")
    yield Share(tmp_path / "share", store)
    store.close()


def gone(result: ScanResult) -> list[bytes]:
    return sorted(file.path for file in result.gone)


def test_new_changed_and_gone(share: Share) -> None:
    kept, changed, removed = (share.write(name) for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg"))
    result = share.scan()
    assert share.paths == [b"a.jpg", b"sub/b.jpg", b"sub/deep/c.jpg"]
    assert result == ScanResult(files=3, folders=3, gone=[])

    assert share.scan().gone == []
    assert share.found == []

    changed.write_bytes(b"longer")
    removed.unlink()
    kept.chmod(0o600)  # moves nothing but its ctime
    result = share.scan()
    assert share.paths == [b"a.jpg", b"sub/b.jpg"]
    assert gone(result) == [b"sub/deep/c.jpg"]


def test_a_rewrite_with_the_same_size_and_a_restored_time_is_a_change(share: Share) -> None:
    path = share.write("a.jpg", b"one")
    share.scan()
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    share.scan()
    assert share.paths == [b"a.jpg"]


def test_a_removed_folder_takes_its_files_along(share: Share) -> None:
    share.write("sub/a.jpg")
    share.write("sub/deep/b.jpg")
    share.write("subway/c.jpg")
    share.scan()
    shutil.rmtree(share.path / "sub")
    assert gone(share.scan()) == [b"sub/a.jpg", b"sub/deep/b.jpg"]


def test_a_renamed_folder_is_new_and_gone(share: Share) -> None:
    share.write("sub/a.jpg")
    share.scan()
    (share.path / "sub").rename(share.path / "other")
    assert gone(share.scan()) == [b"sub/a.jpg"]
    assert share.paths == [b"other/a.jpg"]


def test_a_file_that_became_something_else_is_gone(share: Share) -> None:
    for name, make in (("a.jpg", Path.mkdir), ("b.jpg", os.mkfifo), ("c.jpg", lambda path: path.symlink_to("d.jpg"))):
        share.write(name)
        share.scan()
        (share.path / name).unlink()
        make(share.path / name)
        assert gone(share.scan()) == [os.fsencode(name)]
        assert share.found == []
        for file in share.store.files.in_folder(share.root.id, b"").values():
            share.store.files.mark_gone(file.id)


def test_names_need_not_be_text(share: Share) -> None:
    names = [b"caf\xe9.jpg", b"new\nline.JPG", b"\xff\xfe/\x80.png", "漢.gif".encode()]
    for name in names:
        share.write(os.fsdecode(name))
    share.scan()
    assert share.paths == sorted(names)
    assert share.scan().gone == []
    assert share.found == []


def test_links_are_not_followed(share: Share, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"x")
    share.write("real.jpg")
    (share.path / "link.jpg").symlink_to(tmp_path / "outside" / "secret.jpg")
    (share.path / "folder").symlink_to(tmp_path / "outside")
    (share.path / "loop").symlink_to(".")
    (share.path / "dangling.jpg").symlink_to("nowhere")
    share.scan()
    assert share.paths == [b"real.jpg"]


def test_the_private_folder_is_skipped_at_every_depth(share: Share) -> None:
    share.write(".twinwatch/quarantine/files/a.jpg")
    share.write("sub/.twinwatch/b.jpg")
    share.write(".twinwatch2/c.jpg")
    share.scan(include=["*"])
    assert share.paths == [b".twinwatch2/c.jpg"]


def test_only_regular_files_count(share: Share) -> None:
    os.mkfifo(share.path / "fifo.jpg")
    (share.path / "folder.jpg").mkdir()
    assert share.scan().files == 0
    assert share.found == []


def test_without_recursion_only_the_top_is_walked(share: Share) -> None:
    share.write("a.jpg")
    share.write("sub/b.jpg")
    share.scan(recursive=False)
    assert share.paths == [b"a.jpg"]


def test_what_the_settings_leave_out_from_now_on_counts_as_gone(share: Share) -> None:
    share.write("a.jpg")
    share.write("sub/b.png")
    share.scan()
    assert gone(share.scan(include=["*.jpg"])) == [b"sub/b.png"]
    assert gone(share.scan(recursive=False)) == [b"sub/b.png"]
    assert gone(share.scan(exclude=["sub"])) == [b"sub/b.png"]


# Which names


@pytest.mark.parametrize(("path", "wanted"), [
    (b"a.jpg", True), (b"A.JPG", True), (b"sub/deep/a.Jpg", True), (b"a.jpg.txt", False), (b"jpg", False),
    (b"x.jpg/a.txt", False), (b".jpg", True), (b"a.jpg\n", False), (b"a\n.jpg", True), (b"caf\xe9.jpg", True),
])  # fmt: skip
def test_included_names(path: bytes, wanted: bool) -> None:
    assert PathFilter(("*.jpg",), ()).wants(path) is wanted


@pytest.mark.parametrize(("exclude", "path", "wanted"), [
    ("thumb_*", b"sub/thumb_1.jpg", False), ("THUMB_*", b"thumb_1.jpg", False), ("thumb_*", b"a/my_thumb_1.jpg", True),
    ("drafts/*", b"drafts/a.jpg", False), ("drafts/*", b"drafts/deep/a.jpg", False),
    ("drafts/*", b"x/drafts/a.jpg", True),
    ("a.jpg", b"sub/a.jpg", False), ("sub/a.jpg", b"sub/a.jpg", False), ("sub/a.jpg", b"sub/b.jpg", True),
    ("[ab].jpg", b"a.jpg", False), ("[ab].jpg", b"c.jpg", True),
])  # fmt: skip
def test_excluded_names(exclude: str, path: bytes, wanted: bool) -> None:
    assert PathFilter(("*.jpg",), (exclude,)).wants(path) is wanted


@pytest.mark.parametrize(("exclude", "folder", "wanted"), [
    ("thumbs", b"thumbs", False), ("thumbs", b"a/Thumbs", False), ("thumbs", b"a/thumbs2", True),
    ("a/b", b"a/b", False), ("a/b", b"c/a/b", True),
])  # fmt: skip
def test_excluded_folders(exclude: str, folder: bytes, wanted: bool) -> None:
    assert PathFilter(("*",), (exclude,)).wants_folder(folder) is wanted


def test_an_excluded_folder_is_not_walked(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    share.write("thumbs/a.jpg")
    share.write("b.jpg")
    opened: list[bytes] = []

    def note(root_fd: int, path: bytes) -> int:
        opened.append(path)
        return files.open_folder(root_fd, path)

    monkeypatch.setattr(scan, "open_folder", note)
    share.scan(exclude=["thumbs"])
    assert share.paths == [b"b.jpg"]
    assert opened == [b""]


def test_several_patterns_are_any_of_them() -> None:
    names = PathFilter(("*.jpg", "IMG_?"), ("*.tmp.jpg", "old"))
    assert [names.wants(path) for path in (b"a.jpg", b"img_1", b"img_12", b"a.tmp.jpg", b"x/old")] == [
        True, True, False, False, False]  # fmt: skip
    assert not PathFilter((), ()).wants(b"a.jpg")


# What cannot be believed


def refuse_open(monkeypatch: pytest.MonkeyPatch, folder: bytes, number: int) -> None:
    def refuse(root_fd: int, path: bytes) -> int:
        if path == folder:
            raise OSError(number, os.strerror(number))
        return files.open_folder(root_fd, path)

    monkeypatch.setattr(scan, "open_folder", refuse)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("folder", [b"sub", b""])
def test_a_folder_that_cannot_be_opened_is_not_gone(
    share: Share, monkeypatch: pytest.MonkeyPatch, folder: bytes, number: int
) -> None:
    removed = share.write("z.jpg")
    share.write("sub/a.jpg")
    share.write("sub/deep/b.jpg")
    share.write("subway/c.jpg")
    share.scan()
    removed.unlink()
    shutil.rmtree(share.path / "subway")
    refuse_open(monkeypatch, folder, number)
    assert gone(share.scan()) == ([b"subway/c.jpg", b"z.jpg"] if folder else [])


def test_a_folder_that_fails_while_it_is_listed_is_not_gone(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    share.write("sub/a.jpg")
    share.write("sub/deep/b.jpg")
    share.scan()
    real = scan._list_folder

    def fail(folder_fd: int, folder: bytes, names: PathFilter) -> Any:
        if folder == b"sub":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(folder_fd, folder, names)

    monkeypatch.setattr(scan, "_list_folder", fail)
    assert share.scan().gone == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_looked_at_is_not_gone(
    share: Share, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    share.write("sub/a.jpg")
    share.write("sub/b.jpg")
    share.scan()
    inode = (share.path / "sub" / "a.jpg").stat().st_ino

    def fail(status: os.stat_result) -> Any:
        if status.st_ino == inode:
            raise OSError(number, os.strerror(number))
        return identity.stat_tuple(status)

    monkeypatch.setattr(scan, "stat_tuple", fail)
    assert share.scan().gone == []


def test_a_folder_that_vanishes_during_the_walk_is_gone(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    share.write("sub/a.jpg")
    share.scan()
    refuse_open(monkeypatch, b"sub", errno.ENOENT)
    assert gone(share.scan()) == [b"sub/a.jpg"]


def test_a_missing_root_is_away_and_nothing_is_gone(share: Share) -> None:
    share.write("a.jpg")
    share.scan()
    share.path.rename(share.path.with_name("elsewhere"))
    settings = Watch.model_construct(path=share.path, include=("*.jpg",), exclude=(), recursive=True)
    result = scan_root(settings, share.root, share.store, share.found.append, lambda: False)
    assert result == ScanResult(0, 0, [], "No such file or directory")


def test_another_folder_in_the_root_s_place_is_away(share: Share) -> None:
    share.write("a.jpg")
    share.scan()
    share.path.rename(share.path.with_name("elsewhere"))
    share.path.mkdir()
    share.write("new.jpg")
    assert share.scan() == ScanResult(0, 0, [], "another folder is in its place")
    assert share.found == []


@pytest.mark.parametrize("replace", [True, False])
def test_a_root_that_goes_during_the_walk_loses_nothing(share: Share, replace: bool) -> None:
    share.write("a.jpg")
    share.write("b.jpg")
    share.scan()
    (share.path / "a.jpg").unlink()
    share.write("b.jpg", b"changed")

    def go(_found: ChangedFile) -> None:
        share.path.rename(share.path.with_name("elsewhere"))
        if replace:
            share.path.mkdir()

    settings = Watch.model_validate({"path": share.path})
    result = scan_root(settings, share.root, share.store, go, lambda: False)
    assert result.gone == []
    assert result.offline_reason == (
        "another folder took its place during the scan" if replace else "No such file or directory"
    )


def test_a_walk_that_is_stopped_loses_nothing(share: Share) -> None:
    for name in ("a.jpg", "sub/b.jpg", "sub2/c.jpg"):
        share.write(name)
    share.scan()
    shutil.rmtree(share.path / "sub2")
    asked: list[int] = []
    settings = Watch.model_validate({"path": share.path})

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    result = scan_root(settings, share.root, share.store, share.found.append, stop)
    assert result.gone == []
    assert result.files == len(asked) == 2


def test_it_leaves_no_descriptor_open(share: Share) -> None:
    for number in range(20):
        share.write(f"{number}/a.jpg")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  a count
    share.scan()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  a count
