"""The status and the metrics that the daemon leaves: written whole, readable by its group, and through no link."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from twinwatch.service.status import read_status, write_status


def test_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_status(tmp_path) == {}
    write_status(tmp_path, {"waiting": 3, "roots": ["/srv/é"]}, {"files_waiting": 3.0, "lost": 1})
    assert read_status(tmp_path) == {"waiting": 3, "roots": ["/srv/é"]}
    metrics = (tmp_path / "metrics.prom").read_text()
    assert "\ntwinwatch_files_waiting 3.0\n" in metrics
    assert "\ntwinwatch_lost 1.0\n" in metrics
    write_status(tmp_path, {"waiting": 2}, {})
    assert read_status(tmp_path) == {"waiting": 2}
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"metrics.prom": 0o640, "status.json": 0o640}


def test_a_damaged_status_is_none(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"waiting"')
    assert read_status(tmp_path) == {}


@pytest.mark.parametrize("name", ["status.json.tmp", "metrics.prom.tmp"])
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_link_in_the_place_of_a_status_leads_nowhere(
    tmp_path: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(b"precious")
    folder = tmp_path / "state"
    folder.mkdir()
    link(precious, folder / name)
    write_status(folder, {"waiting": 3}, {})
    assert precious.read_bytes() == b"precious"
    assert read_status(folder) == {"waiting": 3}
