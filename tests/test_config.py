"""Settings: what is refused, and that each refusal names its place."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from daemon_site import mounted
from twinwatch.config import DEFAULT_INCLUDE, SUFFIXES, Limits, Model, Settings, Watch, load_settings
from twinwatch.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"


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


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ({"settle_second": 2}, "settle_second: unknown key, did you mean settle_seconds?"),
        ({"model": {"devise": "cpu"}}, "model.devise: unknown key, did you mean device?"),
        ({"limits": {"max_file_gb": 2}}, "limits.max_file_gb: unknown key, did you mean max_file_mb?"),
        ({"watch": [{"path": "/srv", "acton": "flag"}]}, "watch[0].acton: unknown key, did you mean action?"),
        ({"colour": "blue"}, "colour: unknown key; see config.example.yaml for the known ones"),
    ],
)
def test_a_known_key_of_the_same_section_that_is_spelled_alike_is_named(
    tmp_path: Path, share: Path, content: dict[str, Any], meant: str
) -> None:
    assert f"\n  {meant}" in refusal(tmp_path, {"watch": [{"path": str(share)}]} | content)


def test_a_folder_that_is_not_there_just_now_is_no_fault_of_the_configuration(tmp_path: Path) -> None:
    settings = load(tmp_path, {"watch": [{"path": str(tmp_path / "none")}]})
    assert [watch.path for watch in settings.watch] == [tmp_path / "none"]


def test_the_only_entry_being_bad_does_not_make_the_list_too_short(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"watch": [{"path": "relative"}]})
    assert message.splitlines()[1:] == ["  watch[0].path: must be an absolute path, found 'relative'"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"watch": "/srv"}, "watch: must be a list (found '/srv')"),
        ({"watch": None}, "watch: must be a list (found nothing)"),
        ({"watch": []}, "watch: needs at least one entry"),
        ({"watch": ["/srv"]}, "watch[0]: must hold keys (found '/srv')"),
        ({"watch": [{}]}, "watch[0].path: is missing"),
        ({"limits": {"workers": "many"}}, "limits.workers: must be a whole number (found 'many')"),
        ({"limits": {"decode_seconds": 0}}, "limits.decode_seconds: must be above 0 (found 0)"),
        ({"settle_seconds": True, "rescan_minutes": "x"}, "rescan_minutes: must be a number (found 'x')"),
        ({"model": {"device": "tpu"}}, "model.device: must be 'auto', 'cpu' or 'cuda' (found 'tpu')"),
        ({"watch": [{"path": "/srv", "recursive": "x"}]}, "watch[0].recursive: must be true or false (found 'x')"),
        ({"watch": [{"path": "/srv"}, {"path": "/srv/a"}]}, "watch[1].path: /srv/a overlaps /srv; watch each"),
        ({5: "x"}, "[5]: a key must be text (found 5)"),
    ],
)  # fmt: skip
def test_a_refusal_is_in_words_of_the_configuration(tmp_path: Path, content: dict[Any, Any], line: str) -> None:
    assert f"\n  {line}" in refusal(tmp_path, {"watch": [{"path": "/srv"}]} | content)


def test_every_kind_of_refusal_has_words() -> None:
    """A kind that a new key brings would otherwise speak to programmers."""
    from twinwatch.config import _WORDS

    wrong: list[Any] = [None, [], {}, "x", 1.5, float("nan"), True, -1, 10**9]
    kinds = set[str]()
    for section, path in (
        (Settings, {"watch": [{"path": "/srv"}]}),
        (Watch, {"path": "/srv"}),
        (Model, {}),
        (Limits, {}),
    ):
        for key in section.model_fields:
            for value in wrong:
                try:
                    section.model_validate(path | {key: value})
                except ValidationError as error:
                    kinds |= {detail["type"] for detail in error.errors()}
    assert kinds <= set(_WORDS) | {"extra_forbidden"}


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
    message = refusal(tmp_path, text)
    assert "is not valid YAML: " in message
    assert "unicode string" not in message
    assert "\n" not in message


def test_broken_yaml_is_named_by_its_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, "watch:\n  - path: /srv\n    action: flag: quarantine\n")
    assert message.endswith("line 3, column 17: mapping values are not allowed here")


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    assert "is empty: expected keys such as `watch:`" in refusal(tmp_path, "# nothing yet\n")


@pytest.mark.parametrize(("text", "found"), [("- a", "a list"), ("twinwatch", "'twinwatch'"), ("5", "5")])
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


@pytest.mark.parametrize("order", [("share", "link"), ("link", "share"), ("link/inner", "share")])
def test_one_folder_under_two_names_is_refused(tmp_path: Path, share: Path, order: tuple[str, str]) -> None:
    (share / "inner").mkdir()
    (tmp_path / "link").symlink_to(share)
    message = refusal(tmp_path, {"watch": [{"path": f"{tmp_path}/{name}"} for name in order]})
    assert "overlaps" in message


def test_a_second_mount_of_a_folder_is_the_same_folder(tmp_path: Path, share: Path) -> None:
    (tmp_path / "again").mkdir()
    (share / "inner").mkdir()
    with mounted("--bind", str(share), str(tmp_path / "again")):
        content = {"watch": [{"path": str(share)}, {"path": f"{tmp_path}/again/inner"}]}
        assert "overlaps" in refusal(tmp_path, content)


@pytest.mark.parametrize("name", ["log.jsonl", "deep/log.jsonl"])
@pytest.mark.parametrize("by", ["share", "link"])
def test_a_log_inside_a_root_is_refused(tmp_path: Path, share: Path, by: str, name: str) -> None:
    (tmp_path / "link").symlink_to(share)
    message = refusal(tmp_path, {"watch": [{"path": str(share)}], "duplicates_log": f"{tmp_path}/{by}/{name}"})
    assert "duplicates_log: " in message
    assert "lies inside the watched" in message


@pytest.mark.parametrize(("name", "content"), [("a.JPG", b"words"), ("picture", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")])
def test_a_log_that_is_a_picture_is_refused(tmp_path: Path, share: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path, {"watch": [{"path": str(share)}], "duplicates_log": f"{tmp_path}/{name}"})
    assert "duplicates_log: " in message
    assert "may be a picture" in message
    assert (tmp_path / name).read_bytes() == content


def test_reading_a_configuration_loads_no_picture_library() -> None:
    program = (
        "import sys, pathlib, twinwatch.config as config\n"
        "settings = config.load_settings(pathlib.Path(sys.argv[1]))\n"
        "assert settings.watch and config.SUFFIXES\n"
        "print(*sorted({'PIL', 'pillow_heif', 'numpy', 'cv2', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
