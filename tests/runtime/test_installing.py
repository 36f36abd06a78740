"""The shim comes into somebody else's containerd and goes again, and nothing else of theirs changes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.runtime import installing
from kontinuum.runtime.handler import BadContainerdConfig, Handler, with_handler, without_handler
from kontinuum.runtime.installing import Place

HANDLER = Handler("microvm", Path("/opt/k/bin/shim"), Path("/opt/k/runtime.json"))
DEBIAN = """\
version = 2  # an administrator's comment

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.10"
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
RUNC = """\
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
"""
THREE = "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'overlayfs'\n"


def runtimes(text: str, plugin: str = "io.containerd.grpc.v1.cri") -> Any:
    return tomllib.loads(text)["plugins"][plugin]["containerd"]["runtimes"]


@pytest.mark.parametrize("text", [None, "version = 2\n", DEBIAN, DEBIAN + RUNC, "version = 2\n" + RUNC])
def test_a_handler_comes_and_goes_and_everything_else_stays(text: str | None) -> None:
    after = with_handler(text, HANDLER)
    found = runtimes(after)["microvm"]
    assert found["runtime_type"] == "io.containerd.kontinuum.v1" and found["runtime_path"] == "/opt/k/bin/shim"
    assert found["options"] == {"TypeUrl": "kontinuum.dev/runtime", "ConfigPath": "/opt/k/runtime.json"}
    assert with_handler(after, HANDLER) == after
    if text is not None:
        assert text.rstrip() in after
        assert without_handler(after).rstrip() == text.rstrip()
    moved = with_handler(after, Handler("machines", Path("/a"), Path("/b")))
    assert set(runtimes(moved)) - {"runc"} == {"machines"}


def test_the_third_version_has_another_place_for_runtimes() -> None:
    after = with_handler(THREE, HANDLER)
    assert runtimes(after, "io.containerd.cri.v1.runtime")["microvm"]["runtime_path"] == "/opt/k/bin/shim"
    assert without_handler(after).strip() == THREE.strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "no TOML"), ("[plugins.cri]\n", "version 1"), ("version = 9\n", "version 9"),
        ('version = 2\ndisabled_plugins = ["cri"]\n', "switched off"),
        (DEBIAN + RUNC.replace("runc]", "microvm]").replace("runc.o", "microvm.o"), "which is not ours"),
        ('version = 2\nplugins = {"io.containerd.grpc.v1.cri" = {}}\n', "no TOML"),
        (with_handler(DEBIAN, HANDLER).rpartition("# kontinuum")[0], "is missing behind"),
    ],
)  # fmt: skip
def test_what_cannot_be_added_to_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadContainerdConfig, match=why):
        with_handler(text, HANDLER)


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=30), st.sampled_from([DEBIAN, RUNC, THREE]))
def test_no_text_around_it_is_lost(comment: str, text: str) -> None:
    clean = "".join(letter for letter in comment if letter.isprintable())
    whole = f"# {clean}\n{text if 'version' in text else 'version = 2' + chr(10) + text}"
    assert without_handler(with_handler(whole, HANDLER)).rstrip() == whole.rstrip()


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    for name in installing.PROGRAMS:
        (tmp_path / "assets/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "assets/bin" / name).write_text(name)
    for name in installing.GUEST:
        (tmp_path / "assets/guest").mkdir(parents=True, exist_ok=True)
        (tmp_path / "assets/guest" / name).write_text(name)
    return tmp_path / "assets"


def place_in(directory: Path) -> Place:
    etc = directory / "etc"
    config = etc / "containerd/config.toml"
    return Place(directory / "opt", directory / "run", config, "microvm", etc / "unit.service", directory / "bin")


@pytest.mark.parametrize("before", [None, DEBIAN])
def test_an_installation_is_taken_out_without_a_trace(before: str | None, tmp_path: Path, assets: Path) -> None:
    place = place_in(tmp_path)
    if before is not None:
        place.containerd.parent.mkdir(parents=True)
        place.containerd.write_text(before)
        place.containerd.chmod(0o600)
    first = installing.carry_out(installing.plan(place, assets, accelerator="tcg"))
    assert place.containerd in first and place.unit in first
    assert place.program.stat().st_mode & 0o111 and place.link.resolve() == place.program
    assert place.program.with_name(f"{installing.CLIENT}.socket").read_text() == f"{place.run}/shim.sock\n"
    assert installing.carry_out(installing.plan(place, assets, accelerator="tcg")) == []
    (assets / "guest/vmlinux").write_text("newer")
    assert installing.carry_out(installing.plan(place, assets, accelerator="tcg")) == [
        place.directory / "guest/vmlinux"
    ]
    notes = installing.find(place.directory)
    (place.run / "vm/pod").mkdir(parents=True)
    with pytest.raises(installing.PodsRun, match="1 pods run"):
        list(installing.take_out(place.directory, notes, force=False))
    list(installing.take_out(place.directory, notes, force=True))
    assert not place.directory.exists() and not place.run.exists()
    assert place.unit is not None and not place.unit.exists() and not place.link.is_symlink()
    if before is None:
        assert not place.containerd.exists()
    else:
        assert place.containerd.read_text() == before and place.containerd.stat().st_mode & 0o777 == 0o600
    with pytest.raises(installing.NotInstalled):
        installing.find(place.directory)


def test_the_handler_goes_where_the_cri_is_configured(tmp_path: Path, assets: Path) -> None:
    place = place_in(tmp_path)
    more = place.containerd.parent / "conf.d"
    more.mkdir(parents=True)
    place.containerd.write_text('version = 2\nimports = ["conf.d/*.toml"]\n')
    (more / "1.toml").write_text("version = 2\n" + RUNC)
    (more / "2.toml").write_text('version = 2\n[plugins."io.containerd.gc.v1.scheduler"]\n')
    installing.carry_out(installing.plan(place, assets, accelerator=""))
    assert set(runtimes((more / "1.toml").read_text())) == {"runc", "microvm"}
    assert "kontinuum" not in place.containerd.read_text()


def test_somebody_elses_program_is_not_replaced(tmp_path: Path, assets: Path) -> None:
    place = place_in(tmp_path)
    place.bin.mkdir()
    place.link.write_text("theirs")
    with pytest.raises(installing.LinkTaken, match="choose another"):
        installing.plan(place, assets, accelerator="")


def test_nothing_is_installed_that_is_not_there(tmp_path: Path, assets: Path) -> None:
    (assets / "bin/kontinuum-jail").unlink()
    with pytest.raises(installing.AssetsMissing, match="kontinuum-jail; make them"):
        installing.plan(place_in(tmp_path), assets, accelerator="")
    assert not (tmp_path / "opt").exists()
