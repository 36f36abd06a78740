from __future__ import annotations

import json
import tomllib

import msgspec
import pytest

from kontinuum.node import containerd
from kontinuum.node.settings import NodeSettings, instance_of

SETTINGS = NodeSettings(data_dir="/srv/one", runtime_config="/srv/one/runtime.json", assets_dir="/opt/assets")
CRI = "io.containerd.grpc.v1.cri"


def test_the_configuration_names_both_classes_as_handlers() -> None:
    runtimes = tomllib.loads(containerd.config_toml(SETTINGS))["plugins"][CRI]["containerd"]["runtimes"]
    assert runtimes["container"]["runtime_type"] == "io.containerd.runc.v2"
    assert runtimes["microvm"]["runtime_type"] == "io.containerd.kontinuum.v1"
    assert runtimes["microvm"]["options"]["ConfigPath"] == "/srv/one/runtime.json"


def test_without_a_runtime_configuration_there_is_no_microvm_handler() -> None:
    settings = msgspec.structs.replace(SETTINGS, runtime_config="")
    assert set(tomllib.loads(containerd.config_toml(settings))["plugins"][CRI]["containerd"]["runtimes"]) == {
        "container"
    }


def test_a_quote_in_a_path_does_not_break_the_configuration() -> None:
    parsed = tomllib.loads(containerd.config_toml(NodeSettings(data_dir='/srv/a "b"\\c')))
    assert parsed["root"] == '/srv/a "b"\\c/containerd/root'


def test_two_data_directories_share_neither_bridge_nor_socket_nor_cgroup() -> None:
    other = NodeSettings(data_dir="/srv/two")
    for read in (lambda s: s.bridge_name, lambda s: s.socket, lambda s: s.cgroup):
        assert read(SETTINGS) != read(other)


def test_a_bridge_name_fits_a_network_interface() -> None:
    assert len(SETTINGS.bridge_name) <= 15
    assert json.loads(containerd.cni_conflist(SETTINGS))["plugins"][0]["bridge"] == SETTINGS.bridge_name


def test_traffic_between_pods_keeps_its_source_address() -> None:
    assert json.loads(containerd.cni_conflist(SETTINGS))["plugins"][0]["ipMasq"] is False


def test_the_shim_is_found_in_the_assets_and_finds_its_parent() -> None:
    environment = containerd.environment(SETTINGS)
    assert environment["PATH"].startswith("/opt/assets/bin:")
    assert environment["KONTINUUM_SHIM_SOCKET"] == f"/run/kontinuum/{instance_of('/srv/one')}/shim.sock"


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"data_dri": "/x"}, NodeSettings)
