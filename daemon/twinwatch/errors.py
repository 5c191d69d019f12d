"""The errors that a user can see. Each message says what is wrong and what to do; each class has an exit code."""

from twinwatch.wording import escape_controls


class TwinwatchError(Exception):
    """The base of all errors here. Each argument is one line of the message; control characters in it are escaped."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n  ".join(escape_controls(str(line)) for line in self.args)


class ConfigError(TwinwatchError):
    """The command line or the configuration is wrong, or a file or folder that it names."""

    exit_code = 2


class BundleError(ConfigError):
    """The trained bundle is missing, damaged or does not match what this version reads."""


class StateLockedError(TwinwatchError):
    """Another process holds the lock of the state folder."""

    exit_code = 3


class CatalogError(TwinwatchError):
    """The catalogue is damaged or was written by another version."""


class StorageError(TwinwatchError):
    """The catalogue's disk is full or fails, or another program has locked it. The same step may succeed later."""


class WorkersError(TwinwatchError):
    """No decoder process can be started."""


class ThreadDiedError(TwinwatchError):
    """A bug ended a thread of the daemon."""


class UnreadableError(TwinwatchError):
    """One file cannot be read as a picture; the message is the reason that is recorded for it."""


class QuarantineError(TwinwatchError):
    """A move or restore was refused or failed; nothing was lost."""
