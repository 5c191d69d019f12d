"""`dismiss`: all ids or none."""

from __future__ import annotations

import json

from daemon_site import Site


def test_nothing_is_dismissed_where_one_of_the_ids_is_wrong(judged: Site) -> None:
    done = judged.run("dismiss", "0" * 8, "nope")
    assert done.returncode == 2
    assert done.stdout == ""
    assert json.loads(judged.run("list", "--format", "jsonl").stdout.splitlines()[0])["id"] == "0" * 32
