"""`list`: its rows, its formats, and how it looks on a terminal."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from daemon_site import Site, terminal


def test_restored_and_dismissed_rows_tell_that_event_and_not_the_one_before(judged: Site) -> None:
    listed = judged.run("list", "--all", "--format", "csv")
    assert listed.returncode == 0, listed.stderr
    _, moved, *over = csv.DictReader(io.StringIO(listed.stdout))
    assert (moved["time"], moved["action"]) == ("2026-01-02T00:00:00.000Z", "quarantined")
    assert moved["quarantined_to"] == f"{judged.share}/.twinwatch/quarantine/files/1"
    assert [row["event"] for row in over] == ["restored", "dismissed"]
    for number, row in enumerate(over, 2):
        assert row["time"] == "2026-02-03T04:05:06.000Z"
        assert row["restored_to"] == f"{judged.share}/holiday/back {number}.jpg"
        assert row["action"] == row["quarantined_to"] == ""
    lines = [json.loads(line) for line in judged.run("list", "--all", "--format", "jsonl").stdout.splitlines()]
    assert [line["time"] for line in lines] == [row["time"] for row in csv.DictReader(io.StringIO(listed.stdout))]
    assert [sorted({"action", "quarantined_to"} & set(line)) for line in lines[2:]] == [[], []]


def test_a_file_that_was_put_back_is_listed_where_it_is(judged: Site) -> None:
    rows = judged.run("list", "--all").stdout.splitlines()
    assert [any(f"back {number}.jpg" in row for row in rows) for number in (2, 3)] == [True, True]
    assert not any("the sea 2.jpg" in row for row in rows)


def test_spreadsheets_get_the_words_of_json(judged: Site) -> None:
    rows = list(csv.DictReader(io.StringIO(judged.run("list", "--all", "--format", "csv").stdout)))
    assert [row["better"] for row in rows] == ["true", "false", "false", "false"]


def test_unreadable_files_are_listed_with_why(judged: Site) -> None:
    path = f"{judged.share}/holiday/broken.jpg"
    assert judged.run("list", "--unreadable").stdout.splitlines()[1].split() == [path, "truncated"]
    assert json.loads(judged.run("list", "--unreadable", "--format", "jsonl").stdout) == {
        "path": path,
        "reason": "truncated",
    }
    assert judged.run("list", "--unreadable", "--format", "csv").stdout.split() == ["path,reason", f"{path},truncated"]
    assert "list --unreadable" in judged.run("status").stdout
    assert judged.run("list", "--unreadable", "--all").returncode == 2


def test_an_empty_list_says_so(site: Site) -> None:
    assert site.run("list").stdout == "no copies\n"
    assert site.run("list", "--unreadable").stdout == "no unreadable files\n"
    assert site.run("list", "--format", "jsonl").stdout == ""


def test_a_list_for_another_program_has_no_blanks_at_its_line_ends(judged: Site) -> None:
    lines = judged.run("list", "--all").stdout.splitlines()
    assert len(lines) == 7
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("columns", [80, 160])
def test_no_word_is_broken_on_a_terminal(judged: Site, columns: int) -> None:
    shown = terminal(columns, "list", "--all", "-c", str(judged.config))
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert all(len(line) <= columns for line in lines)
    for words in ("recompressed (better)", "holiday/the sea 0.jpg", "sea.jpg", "quarantined", "dismissed"):
        assert any(words in line for line in lines), words
    assert lines[-1] == "better: the copy has more pixels than its original"
