"""`check`: what it counts and what it refuses."""

from __future__ import annotations

from daemon_site import Site


def test_check_counts_the_folders_of_the_user_only(site: Site) -> None:
    for _ in range(2):  # the first makes the quarantine's folders
        check = site.run("check")
        assert check.returncode == 0, check.stdout
        assert "1 folder on" in check.stdout
    (site.share / "sub").mkdir()
    assert "2 folders on" in site.run("check").stdout


def test_check_refuses_places_below_a_file(site: Site) -> None:
    file = site.home / "file"
    file.touch()
    site.configure(state_dir=str(file / "state"), duplicates_log=str(file / "duplicates.jsonl"))
    check = site.run("check")
    assert check.returncode == 1
    failed = [line.split(maxsplit=2) for line in check.stdout.splitlines() if line.startswith("failed")]
    assert [what for _, what, _ in failed] == ["state_dir", "duplicates_log"]
    assert all("is not a folder" in why for _, _, why in failed)


def test_check_goes_on_where_a_folder_is_missing(site: Site) -> None:
    site.configure(watch=[{"path": "/srv/nowhere/at/all"}, {"path": str(site.share)}])
    check = site.run("check")
    assert check.returncode == 1
    (line,) = [line for line in check.stdout.splitlines() if line.startswith("failed")]
    assert line.split(maxsplit=2)[1:] == [
        "/srv/nowhere/at/all",
        "no such folder: /srv/nowhere/at/all; create it, mount it or remove this entry",
    ]
    assert "1 folder on" in check.stdout
    assert "bundle" in check.stdout
    assert check.stderr == ""
