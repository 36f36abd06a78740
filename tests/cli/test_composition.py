"""What is not decided follows from the data directory; what every part is told fits together."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path

import pytest

from kontinuum.cli import settings as composing
from kontinuum.cli.platform import Preparation, parts
from kontinuum.cli.preparation import kubeconfig, prepare
from kontinuum.foundation.clock import RealClock
from kontinuum.foundation.pki import DAY, Authority
from kontinuum.foundation.settings import SettingRefused


def load(data_dir: Path, **environment: str) -> composing.Settings:
    return composing.load(data_dir=data_dir, environment=environment)


def test_every_part_finds_the_certificates_that_are_issued(tmp_path: Path) -> None:
    settings = load(tmp_path / "data")
    issued = composing.derived(settings).installation.pki
    assert settings.server.certificate == issued / "server.crt"
    assert settings.node.certificate == str(issued / "node-server.crt")
    assert settings.server.client_ca == settings.server.node_ca == Path(settings.node.client_ca) == issued / "ca.crt"


def test_runtime_node_and_containerd_agree_where_the_shim_listens(tmp_path: Path) -> None:
    settings = load(tmp_path / "data")
    assert settings.node.shim_socket == str(settings.installation.shim_socket)
    assert settings.runtime.run_dir == str(settings.installation.run) == settings.node.run_dir
    assert settings.node.runtime_config == str(settings.installation.runtime_config)
    assert str(settings.installation.shim_socket).startswith("/run/kontinuum/")


def test_two_data_directories_share_nothing(tmp_path: Path) -> None:
    one, two = load(tmp_path / "one").installation, load(tmp_path / "two").installation
    assert {one.run, one.templates, one.pki, one.store}.isdisjoint({two.run, two.templates, two.pki, two.store})


def test_the_settings_file_of_the_data_directory_is_read_unless_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("server: {listen: 127.0.0.1:1111}\n")
    assert load(tmp_path).server.listen == "127.0.0.1:1111"
    other = tmp_path / "other.yaml"
    other.write_text("log_level: debug\n")
    named = composing.load(data_dir=tmp_path, config=other, environment={})
    assert (named.server.listen, named.log_level) == ("127.0.0.1:6443", "debug")
    listening = composing.load(data_dir=tmp_path, listen="127.0.0.1:2222", environment={})
    assert listening.api_address == "https://127.0.0.1:2222"


def test_an_unknown_setting_is_refused_with_the_closest_name(tmp_path: Path) -> None:
    with pytest.raises(SettingRefused, match=r'server\.lissten: no such setting; did you mean "server\.listen"'):
        load(tmp_path, KONTINUUM_SERVER__LISSTEN="x")
    assert load(tmp_path, KONTINUUM_SHIM_SOCKET="/x").log_level == "info"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KONTINUUM_SERVER__LISTEN", "banana", 'server: listen: "banana" is not HOST:PORT'),
        ("KONTINUUM_NODE__LISTEN", "127.0.0.1", 'node: listen: "127.0.0.1" is not HOST:PORT'),
        ("KONTINUUM_NODE__POD_CIDR", "10.0.0.0/99", 'node: pod_cidr: "10.0.0.0/99" is not a network'),
    ],
)
def test_an_impossible_address_is_refused_before_anything_starts(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingRefused, match=said):
        load(tmp_path / "data", **{name: value})


def test_settings_reach_a_part_unchanged(tmp_path: Path) -> None:
    settings = load(tmp_path, KONTINUUM_NODE__LABELS="{zone: a}", KONTINUUM_SERVER__WATCH_QUEUE="7")
    assert composing.decode(composing.encode(settings)) == settings


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:6443", "https://127.0.0.1:6443"),
        ("0.0.0.0:7443", "https://127.0.0.1:7443"),
        (":7443", "https://127.0.0.1:7443"),
        ("10.0.0.1:6443", "https://10.0.0.1:6443"),
        ("[::1]:6443", "https://[::1]:6443"),
    ],
)
def test_the_address_is_one_that_this_machine_reaches(listen: str, address: str) -> None:
    assert composing.address_of(listen) == address


def test_the_kubeconfig_is_complete_in_itself(tmp_path: Path) -> None:
    settings = load(tmp_path)
    authority = Authority.ensure(tmp_path / "pki", RealClock())
    pair = authority.ensure_client("admin", user="kubernetes-admin", groups=["system:masters"])
    document = json.loads(kubeconfig(settings, authority.certificate, pair))
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-key-data"]) == pair.key.read_bytes()
    assert document["clusters"][0]["cluster"]["server"] == settings.api_address
    assert document["current-context"] == document["contexts"][0]["name"]


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installation has outside its data is inside."""
    for name in ("run", "templates"):
        monkeypatch.setattr(composing.Installation, name, property(lambda self, name=name: self.data / name))


@pytest.mark.usefixtures("at_home")
def test_preparing_twice_changes_nothing_and_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    settings = load(tmp_path / "data")
    assert prepare(settings, RealClock()) > 200 * DAY
    config = settings.installation.kubeconfig
    before = {path: path.stat().st_ino for path in (tmp_path / "data").rglob("*") if path.is_file()}
    prepare(settings, RealClock())
    assert before == {path: path.stat().st_ino for path in (tmp_path / "data").rglob("*") if path.is_file()}
    tokens = settings.installation.api_tokens
    assert config.stat().st_mode & 0o777 == tokens.stat().st_mode & 0o777 == 0o600
    server = settings.server
    for file in (server.front_proxy_ca, server.proxy_client_certificate, server.proxy_client_key):
        assert file is not None and file in before
    assert server.client_ca is not None and server.front_proxy_ca is not None
    assert server.client_ca.read_bytes() != server.front_proxy_ca.read_bytes(), "a client could speak for everybody"


@pytest.mark.usefixtures("at_home")
def test_a_part_alone_leaves_what_is_the_servers(tmp_path: Path) -> None:
    """Its own settings do not say where the server listens, which was told so by its command line."""
    listening = composing.load(data_dir=tmp_path, listen="192.0.2.1:7000", environment={})
    prepare(listening, RealClock())
    files = (listening.installation.kubeconfig, listening.installation.pki / "server.crt")
    written = [one.read_bytes() for one in files]
    prepare(composing.load(data_dir=tmp_path, environment={}), RealClock(), serves=False)
    assert [one.read_bytes() for one in files] == written


async def test_every_part_has_a_log_of_its_own_and_a_way_to_say_that_it_is_ready(tmp_path: Path) -> None:
    found = parts(Preparation(load(tmp_path)))
    assert [part.name for part in found] == ["server", "controllers", "containerd", "node", "network", "shim-parent"]
    assert [part.name for part in found if part.socket] == ["containerd"]
    assert len({part.log for part in found}) == len(found)


async def test_controllers_are_told_to_work_only_once_the_server_has_passed(tmp_path: Path) -> None:
    preparation = Preparation(load(tmp_path))
    controllers = next(part for part in parts(preparation) if part.name == "controllers")
    preparation.certified.set()
    await controllers.before()
    told = asyncio.ensure_future(controllers.standard_input())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not told.done()
    preparation.passed.set()
    assert composing.decode(await told) == preparation.settings


def test_what_talks_https_skips_the_systems_authorities_but_containerd_keeps_them(tmp_path: Path) -> None:
    chosen = parts(Preparation(load(tmp_path)))
    without = {part.name for part in chosen if part.environment.get("SSL_CERT_FILE") == os.devnull}
    assert without == {"server", "controllers", "node", "network"}
