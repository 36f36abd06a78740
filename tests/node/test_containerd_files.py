from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

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


def test_gvisor_is_driven_by_its_own_shim_where_that_is_installed_and_by_our_adapter_elsewhere(tmp_path: Path) -> None:
    def runtime(settings: NodeSettings) -> dict[str, Any] | None:
        found = tomllib.loads(containerd.config_toml(settings))["plugins"][CRI]["containerd"]["runtimes"]
        assert ("sandbox" in settings.offered_classes) == ("sandbox" in found)
        return found.get("sandbox")

    assert runtime(SETTINGS) is None
    installed = msgspec.structs.replace(SETTINGS, runsc=str(tmp_path / "runsc"), sandbox_platform="systrap")
    adapted = runtime(installed)
    assert adapted is not None and adapted["runtime_type"] == "io.containerd.runc.v2"
    assert adapted["options"]["BinaryName"] == "/opt/assets/bin/kontinuum-runsc"
    (tmp_path / containerd.RUNSC_SHIM).touch()
    own = runtime(installed)
    assert own is not None and own["runtime_type"] == "io.containerd.runsc.v1"
    assert own["options"]["ConfigPath"] == str(containerd.runsc_config_path(installed))
    told = tomllib.loads(containerd.runsc_toml(installed))
    assert told["binary_name"] == installed.runsc
    assert told["runsc_config"] == {"oci-seccomp": "true", "platform": "systrap"}
    assert containerd.environment(installed)["KONTINUUM_SANDBOX_PLATFORM"] == "systrap"


def test_a_quote_in_a_path_does_not_break_the_configuration() -> None:
    parsed = tomllib.loads(containerd.config_toml(NodeSettings(data_dir='/srv/a "b"\\c')))
    assert parsed["root"] == '/srv/a "b"\\c/containerd/root'


def test_two_data_directories_share_neither_interface_nor_socket_nor_cgroup() -> None:
    other = NodeSettings(data_dir="/srv/two")
    for read in (lambda s: s.interface_name, lambda s: s.socket, lambda s: s.cgroup):
        assert read(SETTINGS) != read(other)


def test_the_interfaces_name_is_short_enough() -> None:
    assert len(SETTINGS.interface_name) <= 15


def test_pods_get_none_of_the_nodes_own_addresses_in_either_family() -> None:
    settings = NodeSettings(pod_cidr="10.244.7.0/24,fd00:7::/64")
    ipam = json.loads(containerd.cni_conflist(settings))["plugins"][0]["ipam"]
    assert [one[0]["rangeStart"] for one in ipam["ranges"]] == ["10.244.7.3", "fd00:7::3"]
    assert [one[0]["gateway"] for one in ipam["ranges"]] == ["10.244.7.1", "fd00:7::1"] == list(settings.gateways)
    assert [one["dst"] for one in ipam["routes"]] == ["0.0.0.0/0", "::/0"]


def test_traffic_between_pods_keeps_its_source_address() -> None:
    assert json.loads(containerd.cni_conflist(SETTINGS))["plugins"][0]["ipMasq"] is False


def test_the_shim_is_found_in_the_assets_and_finds_its_parent() -> None:
    environment = containerd.environment(SETTINGS)
    assert environment["PATH"].startswith("/opt/assets/bin:")
    assert environment["KONTINUUM_SHIM_SOCKET"] == f"/run/kontinuum/{instance_of('/srv/one')}/shim.sock"


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"data_dri": "/x"}, NodeSettings)


@pytest.mark.parametrize(
    ("said", "bytes_"),
    [
        ({}, 1500),
        ({"overlay": "routes"}, 1500),
        ({"overlay": "vxlan"}, 1430),
        ({"overlay": "vxlan", "mtu": 8000}, 8000),
    ],
)
def test_pods_send_packets_that_fit_between_nodes(said: dict[str, Any], bytes_: int) -> None:
    assert json.loads(containerd.cni_conflist(NodeSettings(**said)))["plugins"][0]["mtu"] == bytes_
