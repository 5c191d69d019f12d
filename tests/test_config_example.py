"""config.example.yaml against the code: every key, with its default and a comment, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from twinwatch.config import Limits, Model, Settings, Watch, load_settings
from twinwatch.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"
SECTIONS: list[tuple[type[BaseModel], tuple[str | int, ...]]] = [
    (Settings, ()),
    (Watch, ("watch", 0)),
    (Model, ("model",)),
    (Limits, ("limits",)),
]


def section(place: tuple[str | int, ...]) -> dict[str, Any]:
    found: Any = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for step in place:
        found = found[step]
    assert isinstance(found, dict)
    return found


def with_folders(folder: Path, text: str) -> Path:
    """Write the configuration with its folders below `folder`."""
    path = folder / "config.yaml"
    path.write_text(text.replace("/srv/share/", f"{folder}/"), encoding="utf-8")
    return path


@pytest.mark.parametrize(("model", "place"), SECTIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_it_shows_exactly_the_keys_of_the_code_in_their_order(
    model: type[BaseModel], place: tuple[str | int, ...]
) -> None:
    assert list(section(place)) == list(model.model_fields)


def test_every_section_of_the_code_is_compared() -> None:
    kept = {model for model, _ in SECTIONS}
    for model in kept:
        for name, field in model.model_fields.items():
            inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
            nested = {kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)}
            assert nested <= kept, name


def test_its_values_are_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(with_folders(tmp_path, EXAMPLE.read_text(encoding="utf-8")))
    assert settings == Settings(watch=(Watch(path=tmp_path / "incoming"),))


def test_what_it_shows_is_spelled_as_the_defaults_are_even_where_the_code_reads_it_otherwise() -> None:
    # `workers: auto` becomes None; whatever else is shown must be the default itself, not merely mean the same.
    for model, place in SECTIONS:
        shown = section(place)
        for name, field in model.model_fields.items():
            default = field.default
            if default is PydanticUndefined or isinstance(default, BaseModel) or name == "workers":
                continue
            expected = str(default) if isinstance(default, Path) else default
            assert shown[name] == (list(expected) if isinstance(expected, tuple) else expected), name


def test_the_entries_in_comments_are_valid_too(tmp_path: Path) -> None:
    # An entry starts with "#- ", and its further keys with two spaces; prose has one.
    entries = re.sub(r"^  #(?=- |  \S)", "  ", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    settings = load_settings(with_folders(tmp_path, entries))
    assert [watch.path.name for watch in settings.watch] == ["incoming", "archive"]
    assert settings.watch[1].protect


def test_every_key_has_a_comment_above_it() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        key = re.match(r"[ -]*(\w+):", line)
        if key is None or key[1] in {"model"}:
            continue
        assert lines[number - 1].lstrip().startswith("#"), line


def test_a_key_that_it_does_not_show_is_refused(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8") + "\nsettle: 2\n"
    with pytest.raises(ConfigError, match=r"settle: unknown key, did you mean settle_seconds\?"):
        load_settings(with_folders(tmp_path, text))
