"""Access to a watched folder: can this user read it, and if not, why?"""

from __future__ import annotations

import os
from pathlib import Path

from twinwatch.wording import user_name


def why_unusable(path: Path) -> str:
    """Return why the folder at `path` cannot be watched now, or an empty string where it can."""
    # Opening it is the only proof: a folder may exist and still be closed to this user.
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except FileNotFoundError:
        return f"no such folder: {path}; create it, mount it or remove this entry"
    except NotADirectoryError:
        return f"not a folder: {path}"
    except PermissionError:
        readable = False
    except OSError as error:
        return f"cannot be opened: {path}: {error.strerror}"
    else:
        readable = os.access(path, os.R_OK | os.X_OK, effective_ids=True)
    return "" if readable else f"cannot be read by the user {user_name()}: {path}; grant it read and search permission"
