"""Settings come from four places in a fixed order, and what nobody knows is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kontinuum.foundation.settings import SettingRefused, build, load, to_plain
from kontinuum.foundation.settings_docs import describe


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:1"
    """Where it listens."""
    port: int = 1
    """A number."""
    labels: dict[str, str] = {}
    """A mapping."""


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    data: Path = Path("/data")
    """A place."""
    seconds: float = 1.5
    """A time,
    in seconds."""
    server: Inner = Inner()
    undocumented: bool = False


def file_with(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return file


def test_the_command_line_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = file_with(tmp_path, "seconds: 2\nserver: {port: 2, listen: file}\n")
    environment = {"KONTINUUM_SERVER__PORT": "3", "KONTINUUM_DATA": "/elsewhere", "HOME": "/root"}
    loaded = load(Outer, file=file, environment=environment, overrides={"data": "/cli"})
    assert loaded == Outer(data=Path("/cli"), seconds=2.0, server=Inner(port=3, listen="file"))


def test_structures_in_the_environment_are_yaml(tmp_path: Path) -> None:
    loaded = load(Outer, environment={"KONTINUUM_SERVER__LABELS": "{zone: a}", "KONTINUUM_UNDOCUMENTED": "true"})
    assert loaded.server.labels == {"zone": "a"}
    assert loaded.undocumented is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sever: {}", r'sever: no such setting; did you mean "server"\?'),
        ("server: {lisen: x}", r'server\.lisen: no such setting; did you mean "server\.listen"\?'),
        ("qqq: 1", r"qqq: no such setting; known here: data, seconds, server, undocumented"),
        ("server: {port: many}", r"server\.port: Expected `int`, got `str`"),
        ("server: 3", r"server: Expected `object`, got `int`"),
        ("[1]", "expected a mapping of settings, got list"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_path_of_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingRefused, match=message):
        load(Outer, file=file_with(tmp_path, text))


def test_a_wrong_environment_is_refused_and_foreign_names_are_left_alone() -> None:
    with pytest.raises(SettingRefused, match=r'server\.prt: no such setting; did you mean "server\.port"'):
        load(Outer, environment={"KONTINUUM_SERVER__PRT": "3"})
    assert load(Outer, environment={"KONTINUUM_OTHER": "3"}, not_settings={"KONTINUUM_OTHER"}) == Outer()


def test_a_named_file_must_exist_and_an_empty_one_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingRefused, match="there is no such settings file"):
        load(Outer, file=tmp_path / "missing.yaml")
    assert load(Outer, file=file_with(tmp_path, "")) == Outer()


def test_what_was_written_can_be_read_again() -> None:
    settings = Outer(data=Path("/x"), server=Inner(labels={"a": "b"}))
    assert build(Outer, to_plain(settings)) == settings


def test_settings_describe_themselves() -> None:
    described = {setting.path: setting for setting in describe(Outer)}
    assert list(described) == [
        "data",
        "seconds",
        "server.listen",
        "server.port",
        "server.labels",
        "undocumented",
    ]
    assert described["data"].type == "path"
    assert described["seconds"].documentation == "A time,\nin seconds."
    assert described["server.port"].environment == "KONTINUUM_SERVER__PORT"
    assert described["server.listen"].default == "127.0.0.1:1"
    assert described["undocumented"].documentation == ""
