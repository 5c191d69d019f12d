from . import linux as linux
from .access import why_unusable as why_unusable
from .files import (
    TRANSIENT_ERRNOS as TRANSIENT_ERRNOS,
    FileIdentity as FileIdentity,
    StatTuple as StatTuple,
    folder_id as folder_id,
    hash_file as hash_file,
    look as look,
    open_beneath as open_beneath,
    open_folder as open_folder,
    open_root as open_root,
    read_whole as read_whole,
    stat_beneath as stat_beneath,
    stat_tuple as stat_tuple,
)
from .linux import closing as closing
from .mounts import mount_of as mount_of
from .paths import (
    COOKIE_PREFIX as COOKIE_PREFIX,
    PRIVATE_FOLDER as PRIVATE_FOLDER,
    split as split,
)
