"""Settings: what is refused, and that each refusal names its place."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from twinwatch.config import DEFAULT_INCLUDE, Limits, Settings, load_settings
from twinwatch.decode import SUFFIXES
from twinwatch.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share


def load(tmp_path: Path, content: object) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return load_settings(path)


def refusal(tmp_path: Path, content: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_what_is_left_out_has_its_default(tmp_path: Path, share: Path) -> None:
    settings = load(tmp_path, {"watch": [{"path": str(share)}]})

    assert settings.state_dir == Path("/var/lib/twinwatch")
    assert settings.duplicates_log == Path("/var/log/twinwatch/duplicates.jsonl")
    assert (settings.settle_seconds, settings.rescan_minutes) == (2, 15)
    assert (settings.model.bundle, settings.model.device) == ("default", "auto")
    limits = settings.limits
    assert (limits.max_file_mb, limits.max_megapixels) == (512, 300)
    assert (limits.decode_seconds, limits.decode_memory_mb, limits.workers) == (60, 4096, None)
    (watch,) = settings.watch
    assert (watch.path, watch.action, watch.mode) == (share, "flag", "auto")
    assert (watch.recursive, watch.protect) == (True, False)
    assert watch.exclude == ()
    assert watch.include == DEFAULT_INCLUDE
    assert {f"*.{suffix}" for suffix in SUFFIXES} == set(watch.include)


def test_the_example_shows_every_key_with_its_default(tmp_path: Path, share: Path) -> None:
    shown = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    shown["watch"][0]["path"] = str(share)

    assert load(tmp_path, shown) == load(tmp_path, {"watch": [{"path": str(share)}]})
    assert set(shown) == set(Settings.model_fields)
    for name, section in (("model", shown["model"]), ("limits", shown["limits"]), ("watch", shown["watch"][0])):
        annotation = Settings.model_fields[name].annotation
        fields = annotation.__args__[0].model_fields if name == "watch" else annotation.model_fields  # type: ignore[union-attr]
        assert set(section) == set(fields), name


def test_what_is_set_is_taken(tmp_path: Path, share: Path) -> None:
    watch = {"path": f"{share}/../share/", "action": "quarantine", "recursive": False, "mode": "scan", "protect": True,
             "include": ["*.png"], "exclude": ["thumbs"]}  # fmt: skip
    settings = load(tmp_path, {"watch": [watch], "limits": {"workers": 3}, "settle_seconds": 0.5})

    (taken,) = settings.watch
    assert (taken.path, taken.action, taken.mode) == (share, "quarantine", "scan")
    assert (taken.recursive, taken.protect) == (False, True)
    assert (taken.include, taken.exclude, settings.settle_seconds) == (("*.png",), ("thumbs",), 0.5)
    assert settings.limits.worker_count == 3


def test_workers_auto_is_one_for_each_usable_core() -> None:
    assert Limits.model_validate({"workers": "auto"}).worker_count == len(os.sched_getaffinity(0))


def test_settings_cannot_be_changed(tmp_path: Path, share: Path) -> None:
    settings = load(tmp_path, {"watch": [{"path": str(share)}]})
    with pytest.raises(ValueError, match="frozen"):
        settings.settle_seconds = 1  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("action", "move"),
        ("mode", "poll"),
        ("recursive", "perhaps"),
        ("protect", 7),
        ("include", "*.jpg"),
        ("exclude", [1]),
        ("path", "relative/folder"),
        ("path", 5),
    ],
)
def test_a_bad_value_of_a_root_is_named_by_its_place(tmp_path: Path, share: Path, key: str, value: object) -> None:
    other = tmp_path / "other"
    other.mkdir()
    message = refusal(tmp_path, {"watch": [{"path": str(share)}, {"path": str(other)} | {key: value}]})
    place = f"watch[1].{key}[0]: " if key == "exclude" else f"watch[1].{key}: "
    assert place in message
    assert "watch[0]" not in message


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"settle_seconds": -1}, "settle_seconds: "),
        ({"settle_seconds": "soon"}, "settle_seconds: "),
        ({"rescan_minutes": 0}, "rescan_minutes: "),
        ({"rescan_minutes": 10081}, "rescan_minutes: "),
        ({"rescan_minutes": float("nan")}, "rescan_minutes: "),
        ({"settle_seconds": float("nan")}, "settle_seconds: "),
        ({"state_dir": "state"}, "state_dir: must be an absolute path"),
        ({"duplicates_log": "log.jsonl"}, "duplicates_log: must be an absolute path"),
        ({"model": {"device": "tpu"}}, "model.device: "),
        ({"model": []}, "model: "),
        ({"limits": {"max_file_mb": 0}}, "limits.max_file_mb: "),
        ({"limits": {"max_megapixels": 10001}}, "limits.max_megapixels: "),
        ({"limits": {"decode_seconds": 1.5}}, "limits.decode_seconds: "),
        ({"limits": {"decode_memory_mb": 511}}, "limits.decode_memory_mb: "),
        ({"limits": {"workers": 0}}, "limits.workers: "),
        ({"limits": {"workers": "many"}}, "limits.workers: "),
    ],
)
def test_a_bad_value_elsewhere_is_named_by_its_place(
    tmp_path: Path, share: Path, content: dict[str, Any], place: str
) -> None:
    message = refusal(tmp_path, {"watch": [{"path": str(share)}]} | content)
    assert f"\n  {place}" in message
    assert message.count("\n") == 1


def test_a_bad_value_is_shown(tmp_path: Path, share: Path) -> None:
    message = refusal(tmp_path, {"watch": [{"path": str(share), "action": "move"}]})
    assert "'flag'" in message
    assert "'quarantine'" in message
    assert "found 'move'" in message


def test_every_wrong_place_is_named_at_once(tmp_path: Path, share: Path) -> None:
    message = refusal(
        tmp_path,
        {"watch": [{"path": str(share), "action": "x", "protectd": True}], "limits": {"workers": -1}, "modle": {}},
    )
    for place in ("watch[0].action: ", "watch[0].protectd: unknown key", "limits.workers: ", "modle: unknown key"):
        assert f"\n  {place}" in message


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"settle": 2}, "settle"),
        ({"model": {"name": "default"}}, "model.name"),
        ({"limits": {"max_file_gb": 2}}, "limits.max_file_gb"),
    ],
)
def test_an_unknown_key_is_refused(tmp_path: Path, share: Path, content: dict[str, Any], place: str) -> None:
    assert f"  {place}: unknown key" in refusal(tmp_path, {"watch": [{"path": str(share)}]} | content)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"watch": [{"path": str(tmp_path / "none")}]})
    assert f"watch[0].path: no such folder: {tmp_path / 'none'}" in message


def test_a_file_is_no_folder_to_watch(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "watch[0].path: not a folder: " in refusal(tmp_path, {"watch": [{"path": str(tmp_path / "file")}]})


def test_a_closed_folder_is_refused(tmp_path: Path, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as for a user that is not root
    assert "watch[0].path: cannot be read by user id" in refusal(tmp_path, {"watch": [{"path": str(share)}]})


@pytest.mark.parametrize("first", ["share", "share/inner", "share/inner/../.."])
def test_roots_that_overlap_are_refused(tmp_path: Path, first: str) -> None:
    (tmp_path / "share" / "inner").mkdir(parents=True)
    message = refusal(tmp_path, {"watch": [{"path": f"{tmp_path}/{first}"}, {"path": f"{tmp_path}/share"}]})
    assert "watch[1].path: " in message
    assert "overlaps" in message


def test_roots_with_a_common_beginning_of_their_names_do_not_overlap(tmp_path: Path, share: Path) -> None:
    (tmp_path / "share2").mkdir()
    settings = load(tmp_path, {"watch": [{"path": str(share)}, {"path": str(tmp_path / "share2")}]})
    assert len(settings.watch) == 2


@pytest.mark.parametrize("inner", ["", "/state", "/../share/x/y"])
def test_state_inside_a_root_is_refused(tmp_path: Path, share: Path, inner: str) -> None:
    message = refusal(tmp_path, {"watch": [{"path": str(share)}], "state_dir": f"{share}{inner}"})
    assert "state_dir: " in message
    assert "lies inside the watched" in message


@pytest.mark.parametrize("content", [{}, {"watch": []}, {"watch": None}, {"watch": {}}])
def test_at_least_one_root_is_asked_for(tmp_path: Path, content: object) -> None:
    assert "\n  watch: " in refusal(tmp_path, content)


def test_a_root_without_a_path_is_refused(tmp_path: Path) -> None:
    assert "watch[0].path: " in refusal(tmp_path, {"watch": [{"action": "flag"}]})


@pytest.mark.parametrize("text", ["watch: [", "watch:\n\t- path: /x", "a: b: c", "%", "watch: @x", "\x00"])
def test_broken_yaml_is_refused(tmp_path: Path, text: str) -> None:
    assert "is not valid YAML" in refusal(tmp_path, text)


@pytest.mark.parametrize(("text", "found"), [("", "NoneType"), ("- a", "list"), ("twinwatch", "str"), ("5", "int")])
def test_yaml_that_is_no_mapping_is_refused(tmp_path: Path, text: str, found: str) -> None:
    message = refusal(tmp_path, text)
    assert "expected keys such as `watch:`" in message
    assert f"found {found}" in message


def test_yaml_cannot_run_anything(tmp_path: Path) -> None:
    assert "is not valid YAML" in refusal(tmp_path, f"x: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    assert not (tmp_path / "made").exists()


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration at .*none\.yaml; copy config\.example\.yaml"):
        load_settings(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"watch: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(tmp_path)
