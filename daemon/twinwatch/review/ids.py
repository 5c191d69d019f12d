"""Which verdict or file a person means by an id, or by the beginning of one."""

from __future__ import annotations

from collections.abc import Iterable

from twinwatch.errors import ConfigError
from twinwatch.review.quarantined import QuarantinedFile, moved_since
from twinwatch.store import Store, Verdict

_MIN_LENGTH = 4  # fewer characters may name another file than was meant


def select(files: list[QuarantinedFile], ids: Iterable[str], store: Store | None) -> list[QuarantinedFile]:
    """Return the files that ids, or the unambiguous beginnings of ids, name. Raises ConfigError for any other."""
    picked = []
    for wanted in ids:
        named = [file for file in files if _begins(file.id, wanted)]
        matching = moved_since(named) or named
        if len(matching) != 1:
            flagged = [] if store is None else [each for each in store.verdicts.all() if _begins(each.id, wanted)]
            unknown = (
                "was flagged only and lies where it was: there is nothing to put back"
                if flagged
                else "not in quarantine; `twinwatch list --quarantined` shows the ids"
            )
            raise ConfigError(_no_match(wanted, len(matching), unknown))
        picked += matching
    return list(dict.fromkeys(picked))


def select_verdicts(store: Store, ids: Iterable[str]) -> list[Verdict]:
    """Return the verdicts that ids, or the unambiguous beginnings of ids, name. Raises ConfigError for any other."""
    everything, picked = store.verdicts.all(), []
    for wanted in ids:
        matching = [verdict for verdict in everything if _begins(verdict.id, wanted)]
        if len(matching) != 1:
            raise ConfigError(_no_match(wanted, len(matching), "no copy with this id; see `twinwatch list --all`"))
        picked += matching
    return list(dict.fromkeys(picked))


def _begins(verdict_id: str, wanted: str) -> bool:
    return len(wanted) >= _MIN_LENGTH and verdict_id.startswith(wanted)


def _no_match(wanted: str, count: int, unknown: str) -> str:
    if not wanted:
        return "an id may not be empty; `twinwatch list` shows the ids"
    if len(wanted) < _MIN_LENGTH:
        return f"{wanted}: give at least {_MIN_LENGTH} characters of an id; `twinwatch list` shows the ids"
    return f"{wanted}: {'several files have ids that begin so; give more of it' if count else unknown}"
