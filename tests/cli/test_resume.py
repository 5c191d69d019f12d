"""`resume`: only for watched folders."""

from __future__ import annotations

from daemon_site import Site


def test_only_a_watched_folder_is_resumed(site: Site) -> None:
    done = site.run("resume", "/nonexistent")
    assert done.returncode == 2
    assert f"/nonexistent is not a watched folder; those are {site.share}" in done.stderr
    assert site.run("resume", f"{site.share}/").returncode == 0
