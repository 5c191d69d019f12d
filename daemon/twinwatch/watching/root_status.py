"""What is known of one watched root: whether it is online, when it was scanned, and what is wrong with it."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field

from twinwatch.config import Watch
from twinwatch.store import Root

_PAUSE_S = 10.0


@dataclass(slots=True)
class ScanSchedule:
    """When a root was scanned last (monotonic seconds), and whether a scan was requested since."""

    last_s: float = float("-inf")
    requested: bool = True

    def is_due(self, now_s: float, rescan_s: float) -> bool:
        """True `rescan_s` after the last scan; where one was requested, after a pause of ten seconds."""
        age_s = now_s - self.last_s
        return age_s > rescan_s or (self.requested and age_s > _PAUSE_S)


@dataclass(slots=True)
class Problems:
    """What a person should know about a root, besides that it is offline. Each text is empty while all is well."""

    flag_only_reason: str = ""  # why nothing is moved, where it should be
    limit_advice: str = ""  # on the kernel's limit of watched folders, where it was reached
    no_events_reason: str = ""  # why no events can be had
    empty_reason: str = ""  # what to look into where a folder is empty that was not
    probe_error: str = ""  # why it is unknown whether events still come
    last_error: str = ""  # what ended this root's part in the last round

    def texts(self) -> list[str]:
        return [text for text in astuple(self) if text]


@dataclass(slots=True)
class RootStatus:
    """One watched root. Only the monitor's thread writes it.

    Other threads may read it at any time: each field is replaced as a whole, so no lock is needed, but two fields that
    are read one after the other may be of different rounds.
    """

    watch: Watch
    uses_events: bool
    root: Root | None = None  # None while it is offline
    offline_reason: str = ""
    seen_online: bool = False  # since the start
    has_quarantine: bool = False
    files: int = 0  # at the last scan, as are `folders`
    folders: int = 0
    scans: ScanSchedule = field(default_factory=ScanSchedule)
    problems: Problems = field(default_factory=Problems)
