"""The configuration: a YAML file read into frozen, validated settings.

Unknown keys and bad values are refused, each named by its place. Whether a watched folder exists is not checked here,
since it may be mounted later. Reading the configuration loads no image library.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twinwatch.errors import ConfigError

DEFAULT_PATH = Path("/etc/twinwatch/config.yaml")
SUFFIXES = (
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff",
    "heic", "heif", "avif", "jp2", "j2k", "jpf", "jpx",
)  # fmt: skip
_HEAD_BYTES = 4096
DEFAULT_INCLUDE = tuple(f"*.{suffix}" for suffix in SUFFIXES)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, found {str(path)!r}")
    return Path(os.path.normpath(path))


def _auto_as_none(value: Any) -> Any:
    return None if value == "auto" else value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Watch(_Section):
    """One watched folder, a root."""

    path: AbsolutePath
    action: Literal["flag", "quarantine"] = "flag"
    recursive: bool = True
    mode: Literal["auto", "events", "scan"] = "auto"
    include: tuple[str, ...] = DEFAULT_INCLUDE
    exclude: tuple[str, ...] = ()
    protect: bool = False
    max_moves_per_minute: int = Field(500, gt=0, le=1_000_000)
    max_moved_percent: int = Field(50, gt=0, le=100)


class Model(_Section):
    """The trained bundle, by name or path, and the device that runs it."""

    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Limits(_Section):
    """Limits on one file; a file beyond them is recorded as unreadable. Also the number of decoder processes."""

    max_file_mb: int = Field(512, gt=0, le=65536)
    max_megapixels: int = Field(300, gt=0, le=10000)
    decode_seconds: int = Field(60, gt=0, le=3600)
    decode_memory_mb: int = Field(4096, ge=512)
    workers: Annotated[int | None, BeforeValidator(_auto_as_none)] = Field(None, ge=1, le=256)

    @property
    def worker_count(self) -> int:
        """The number of decoder processes: as set, or one for each core that this process may use."""
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
                if _lies_in(watch.path, other.path) or _lies_in(other.path, watch.path):
                    raise ValueError(
                        f"watch[{number}].path: {watch.path} overlaps {other.path}; watch each folder once"
                    )
            if _lies_in(self.state_dir, watch.path):
                raise ValueError(f"state_dir: {self.state_dir} lies inside the watched {watch.path}; move it out")
            if _lies_in(self.duplicates_log, watch.path):  # where users could put a link in its place
                raise ValueError(
                    f"duplicates_log: {self.duplicates_log} lies inside the watched {watch.path}; move it out"
                )
        if _holds_no_text(self.duplicates_log):
            raise ValueError(f"duplicates_log: {self.duplicates_log} holds no text, and may be a picture; name another")


def _lies_in(path: Path, folder: Path) -> bool:
    """True if `path` is `folder` or lies in it, also where a link or a second mount leads there under another name."""
    real, above = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if path.is_relative_to(folder) or real.is_relative_to(above):
        return True
    try:
        wanted = above.stat()
    except OSError:
        return False  # the folder does not exist now
    return any(_is_same(part, wanted) for part in (real, *real.parents))


def _is_same(path: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), wanted)
    except OSError:
        return False


def _holds_no_text(path: Path) -> bool:
    """True if a file cannot be a log: it has a zero byte near its beginning, as pictures do, or a picture's suffix."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return b"\0" in file.read(_HEAD_BYTES) or path.suffix.lower().lstrip(".") in SUFFIXES
    except OSError:
        return False  # opening it for writing fails later, with a reason


def load_settings(path: Path) -> Settings:
    """Read and validate the file at `path`. Raises ConfigError with one line for each wrong place."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; copy config.example.yaml there and edit it") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is no UTF-8 text") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_yaml_problem(error)}") from None
    if content is None:
        raise ConfigError(f"{path} is empty: expected keys such as `watch:`; config.example.yaml shows them all")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys such as `watch:`{_found_text(content)}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        details = error.errors()
        lines = [
            f"{_place_text(item['loc'])}{_message(item)}" for item in details if not _is_consequence(item, details)
        ]
        raise ConfigError(f"{path} is refused:", *lines) from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = (error.problem or error.context or "").replace("'<stream end>'", "the end of the file")
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return str(error).partition("\n")[0]


def _place_text(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{text}: " if text else ""


def _is_consequence(detail: Any, details: list[Any]) -> bool:
    """True if a list is too short only because its entries were refused; each of those has an error of its own."""
    location = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(location) and other["loc"][: len(location)] == location for other in details
    )


# Replaces Pydantic's messages, which are for programmers. The names in braces are keys of its `ctx`.
_WORDS = {
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_type": "must be text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "too_short": "needs at least one entry",
    "model_type": "must hold keys",
    "invalid_key": "a key must be text",
    "value_error": "{error}",
}


def _message(detail: Any) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"unknown key{_suggestion(detail['loc'])}"
    words = _WORDS.get(kind)
    text = str(detail["msg"]) if words is None else words.format(**detail.get("ctx", {}))
    return text if kind in ("missing", "too_short", "value_error") else text + _found_text(detail["input"])


def _suggestion(location: tuple[int | str, ...]) -> str:
    """Return the end of the message about an unknown key: the known key with the most similar spelling, if any."""
    sections: dict[int | str, type[_Section]] = {"watch": Watch, "model": Model, "limits": Limits}
    section = sections.get(location[0], Settings) if len(location) > 1 else Settings
    close = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else "; see config.example.yaml for the known ones"


def _found_text(value: Any) -> str:
    if isinstance(value, bool):
        return f" (found {str(value).lower()})"
    if isinstance(value, str | int | float):
        return f" (found {value!r})"
    return f" (found {'nothing' if value is None else 'a list' if isinstance(value, list) else 'keys'})"
