"""YAML to frozen, validated settings. Unknown keys, missing paths and bad values are refused, named by their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twinwatch.decode import SUFFIXES
from twinwatch.errors import ConfigError

DEFAULT_PATH = Path("/etc/twinwatch/config.yaml")
DEFAULT_INCLUDE = tuple(f"*.{suffix}" for suffix in SUFFIXES)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, found {str(path)!r}")
    return Path(os.path.normpath(path))


def _existing_folder(path: Path) -> Path:
    # The open is the proof: a folder may exist and still be closed to this user.
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except FileNotFoundError:
        raise ValueError(f"no such folder: {path}; create it, mount it or remove this entry") from None
    except NotADirectoryError:
        raise ValueError(f"not a folder: {path}") from None
    except PermissionError:
        readable = False
    else:
        readable = os.access(path, os.R_OK | os.X_OK, effective_ids=True)
    if not readable:
        raise ValueError(f"cannot be read by user id {os.geteuid()}: {path}; grant it read and search permission")
    return path


def _auto_as_none(value: Any) -> Any:
    return None if value == "auto" else value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
FolderPath = Annotated[Path, AfterValidator(_absolute), AfterValidator(_existing_folder)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Watch(_Section):
    """One watched folder, a root."""

    path: FolderPath
    action: Literal["flag", "quarantine"] = "flag"
    recursive: bool = True
    mode: Literal["auto", "events", "scan"] = "auto"
    include: tuple[str, ...] = DEFAULT_INCLUDE
    exclude: tuple[str, ...] = ()
    protect: bool = False


class Model(_Section):
    """The trained bundle, by name or path, and where it runs."""

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Limits(_Section):
    """What one file may cost before it is recorded as unreadable."""

    max_file_mb: int = Field(512, gt=0, le=65536)
    max_megapixels: int = Field(300, gt=0, le=10000)
    decode_seconds: int = Field(60, gt=0, le=3600)
    decode_memory_mb: int = Field(4096, ge=512)
    workers: Annotated[int | None, BeforeValidator(_auto_as_none)] = Field(None, ge=1, le=256)

    @property
    def worker_count(self) -> int:
        """Decoder processes: as set, or one a core that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))


class Settings(_Section):
    """The whole configuration."""

    watch: tuple[Watch, ...] = Field(min_length=1)
    state_dir: AbsolutePath = Path("/var/lib/twinwatch")
    duplicates_log: AbsolutePath = Path("/var/log/twinwatch/duplicates.jsonl")
    settle_seconds: float = Field(2, ge=0, le=3600)
    rescan_minutes: float = Field(15, gt=0, le=10080)
    model: Model = Model()
    limits: Limits = Limits()

    def model_post_init(self, _context: Any) -> None:
        for number, watch in enumerate(self.watch):
            for other in self.watch[:number]:
                if watch.path.is_relative_to(other.path) or other.path.is_relative_to(watch.path):
                    raise ValueError(
                        f"watch[{number}].path: {watch.path} overlaps {other.path}; watch each folder once"
                    )
            if self.state_dir.is_relative_to(watch.path):
                raise ValueError(f"state_dir: {self.state_dir} lies inside the watched {watch.path}; move it out")


def load_settings(path: Path) -> Settings:
    """Read and validate the file at `path`. Raises ConfigError that names every wrong place, a line each."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; copy config.example.yaml there and edit it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys such as `watch:`, found {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(f"  {_place(detail['loc'])}{_message(detail)}" for detail in error.errors())
        raise ConfigError(f"{path} is refused:\n{lines}") from None


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{text}: " if text else ""


def _message(detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown key; see config.example.yaml for the known ones"
    found = detail.get("input")
    shown = (
        f" (found {found!r})" if isinstance(found, str | int | float | bool) and detail["type"] != "value_error" else ""
    )
    return str(detail["msg"]).removeprefix("Value error, ") + shown
