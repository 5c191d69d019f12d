"""`status` and `check` on a site whose daemon never ran."""

from __future__ import annotations

from daemon_site import Site


def test_check_and_status_tell_what_is_so(site: Site) -> None:
    check = site.run("check")
    assert check.returncode == 0, check.stdout
    assert "copies are moved" in check.stdout
    assert "none yet, the daemon makes it" in check.stdout
    assert not (site.home / "state").exists(), "a check leaves no state that another user could not write to"
    status = site.run("status")
    assert status.returncode == 0
    assert "not running" in status.stdout
    assert site.run("resume").stdout.startswith("nothing was switched off")
