"""The circuit breaker stops a rush of moves, says so, and stays open until a person resumes the folder."""

from __future__ import annotations

from pathlib import Path

from daemon_site import Site, wait_for
from fault_counts import Counting, scaled
from faults.fixtures import held, plain, running, tree, write
from twinwatch.judging.circuit_breaker import MIN_MOVES

MOST = 5
PERCENT = 20


def drop(site: Site, root: Path, pictures: list[bytes], name: str) -> None:
    """Write pictures into a root, and wait until each is judged."""
    for number, data in enumerate(pictures):
        write(root / f"{name}{number}.bmp", data)

    def judged() -> bool:
        known = site.known(root)
        return not {"waiting", "new"}.intersection(known.values()) and known.keys() == tree(root).keys()

    wait_for(judged)


def test_a_rush_of_copies_stops_by_itself(tmp_path: Path, bundle: Path, counting: Counting) -> None:
    """Both limits: moves a minute, and the moved share of a folder. Further copies are flagged, and no file is lost."""
    rush, drain = tmp_path / "rush", tmp_path / "drain"
    for root in (rush, drain):
        root.mkdir()
    watch = [
        {"path": str(rush), "action": "quarantine", "max_moves_per_minute": MOST},
        {"path": str(drain), "action": "quarantine", "max_moved_percent": PERCENT},
    ]
    site = Site(tmp_path, bundle, settings={"watch": watch, "settle_seconds": 0.1})
    originals = [plain(number) for number in range(MIN_MOVES)]
    surplus = scaled(20, 200)
    allowed = {rush: MOST + 1, drain: MIN_MOVES}
    with counting("copy beyond what a folder's brake allows to be moved") as tally, running(site):
        drop(site, rush, originals, "original")
        for root in (rush, drain):
            drop(site, root, (originals * 3)[: allowed[root] + surplus], "copy")
            tally.inject(surplus)
            assert len(held(root)) == allowed[root]
            assert len(tree(root)) == surplus + (MIN_MOVES if root == rush else 0), "what is only flagged stays"
        assert len([line for line in site.entries("duplicate") if line["action"] == "flagged"]) == 2 * surplus
        said = " ".join(site.run("status").stdout.split())
        assert f"{MOST + 1} files were moved within a minute" in said
        assert f"over {PERCENT}% of the folder, were moved within an hour" in said
        metrics = site.home / "state" / "metrics.prom"
        wait_for(lambda: "\ntwinwatch_folders_switched_off 2.0\n" in metrics.read_text())

        checked = site.run("check").stdout
        assert checked.count("quarantine is off") == 2
        assert "copies are moved" not in checked

        resumed = site.run("resume", str(rush))
        assert resumed.returncode == 0
        assert f"{surplus} copies that were flagged meanwhile stay where they are" in resumed.stdout
        drop(site, rush, originals[:MOST], "again")
        assert len(held(rush)) == allowed[rush] + MOST
        wait_for(lambda: "\ntwinwatch_folders_switched_off 1.0\n" in metrics.read_text())
