"""The errors a user can meet. Each message says what is wrong and what to do; each class knows its exit code."""

from twinwatch.wording import escape_controls


class TwinwatchError(Exception):
    """Something failed in a way that a person can act on. Each argument is a line; names in it can forge none."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n  ".join(escape_controls(str(line)) for line in self.args)


class ConfigError(TwinwatchError):
    """The command line, the configuration or something it names is wrong."""

    exit_code = 2


class BundleError(ConfigError):
    """The trained bundle is missing, damaged or does not match what this version reads."""


class StateLockedError(TwinwatchError):
    """Another daemon holds the state folder."""

    exit_code = 3


class CatalogError(TwinwatchError):
    """The catalogue is damaged or was written by another version."""


class StorageError(TwinwatchError):
    """The state folder's disk is full, failing or locked by another program: what was tried may be tried again."""


class WorkersError(TwinwatchError):
    """No decoder process can be started."""


class ThreadDiedError(TwinwatchError):
    """A thread ended of a mistake of ours."""


class UnreadableError(TwinwatchError):
    """One file cannot be read as a picture; the message is the recorded reason."""


class QuarantineError(TwinwatchError):
    """A move or restore was refused or failed; nothing was lost."""
