"""`restore`: what can be named, and the times that --since takes."""

from __future__ import annotations

import pytest

from daemon_site import Site, twinwatch


def test_wrong_ids_are_refused(site: Site) -> None:
    for command in ("restore", "dismiss"):
        done = site.run(command, "abcdef")
        assert done.returncode == 2
        assert "twinwatch list" in done.stderr
    assert site.run("restore").returncode == 2
    assert site.run("restore", "--since", "yesterday").returncode == 2


def test_an_id_that_says_nothing_is_refused_as_such(site: Site) -> None:
    for command in ("restore", "dismiss"):
        done = site.run(command, "")
        assert done.returncode == 2
        assert "an id may not be empty" in done.stderr
        assert "abc: give at least 4 characters of an id" in site.run(command, "abc").stderr
    assert "nope: no copy with this id; see `twinwatch list --all`" in site.run("dismiss", "nope").stderr


def test_a_time_without_a_zone_is_local_and_the_time_that_was_used_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setenv("COLUMNS", "200")
    done = site.run("restore", "--since", "2026-01-31T12:00")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 restored, 0 failed, of what was moved since 2026-01-31T06:30:00.000Z\n"
    assert "without a zone it is local" in " ".join(twinwatch("restore", "--help").stdout.split())


def test_what_was_flagged_only_cannot_be_restored_and_that_is_said(judged: Site) -> None:
    done = judged.run("restore", "0" * 8)
    assert done.returncode == 2
    assert "was flagged only and lies where it was" in done.stderr
