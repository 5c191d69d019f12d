"""How the commands that need a configuration begin: they load it and act as the daemon's user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from twinwatch.config import Settings, load_settings

if TYPE_CHECKING:
    from twinwatch.service import StateFolder


def load_as_owner(config: Path) -> Settings:
    """Load the configuration, log errors only, and become the owner of the state folder. Raises ConfigError."""
    from twinwatch.service import logs

    logs.configure_quiet()
    settings = load_settings(config)
    _become_owner(settings.state_dir)
    return settings


def open_state(settings: Settings) -> StateFolder:
    """Return the state folder, which is made if it is missing. Raises ConfigError where it cannot be used."""
    from twinwatch.service import StateFolder

    return StateFolder(settings.state_dir)


def _become_owner(state_dir: Path) -> None:
    """Switch from root to the user who owns the state folder: files that root creates there would lock out the daemon.

    Does nothing for any other user, where the folder is missing, or where root owns it.
    """
    if os.geteuid() != 0 or not state_dir.exists():
        return
    owner = state_dir.stat()
    if owner.st_uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:  # the uid has no account, as in a container
        os.setgroups([owner.st_gid])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
