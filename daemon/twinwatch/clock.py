"""The current time in the format of the log, the quarantine's records and the catalogue."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return the current time as RFC 3339 in UTC, to the millisecond."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC, to the millisecond; a time without a zone is local.

    Raises ValueError or OverflowError where the time in UTC is before the year 1 or after 9999.
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
