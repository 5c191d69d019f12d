from . import malloc as malloc
from .pool import (
    WorkerCrashed as WorkerCrashed,
    WorkerKilled as WorkerKilled,
    WorkerPool as WorkerPool,
)
from .tasks import (
    CandidateMatch as CandidateMatch,
    CompareResult as CompareResult,
    CompareTask as CompareTask,
    ExpectedFile as ExpectedFile,
    FileChanged as FileChanged,
    FileGone as FileGone,
    FileRef as FileRef,
    Inspection as Inspection,
    InspectTask as InspectTask,
    OutOfTime as OutOfTime,
    RootOffline as RootOffline,
)
