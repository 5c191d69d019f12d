"""Paths as bytes: split and joined."""

from pathlib import Path

import pytest

from twinwatch.fs import join, split


@pytest.mark.parametrize(
    ("path", "parts"),
    [(b"a", (b"", b"a")), (b"a/b", (b"a", b"b")), (b"a/b/c", (b"a/b", b"c")), (b"caf\xe9/\n", (b"caf\xe9", b"\n"))],
)
def test_what_is_split_is_joined_again(path: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split(path) == parts
    assert join(*parts) == path


@pytest.mark.parametrize(
    ("folder", "path", "joined"),
    [
        (b"/srv/a", b"b/c", b"/srv/a/b/c"),
        (b"/srv/a/", b"b", b"/srv/a/b"),
        (b"/", b"b", b"/b"),
        (Path("/srv/a"), b"caf\xe9", b"/srv/a/caf\xe9"),
        (Path("/"), b"b", b"/b"),
        (Path("/srv/\udce9"), b"b", b"/srv/\xe9/b"),
        (b"/srv/a", b"/etc/passwd", b"/srv/a//etc/passwd"),  # os.path.join would leave the root here
    ],
)
def test_a_root_and_a_path_are_joined(folder: bytes | Path, path: bytes, joined: bytes) -> None:
    assert join(folder, path) == joined
