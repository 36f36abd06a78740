"""What hosts of one machine are called, are told and are found by; what becomes of them is tested on machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinuum.cli import hosts
from kontinuum.cli import settings as composing
from kontinuum.cli.settings import Settings, joining_address
from kontinuum.foundation.settings import SettingRefused


def settings_at(directory: Path, **values: Any) -> Settings:
    return composing.load(data_dir=directory, overrides=values, environment={})


def test_this_machine_is_the_first_host_and_the_others_reach_it_on_the_wire(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, hosts={"count": 3, "network": "10.9.0.0/24"}, node={"name": "m"})
    assert settings.node.address == "10.9.0.1"
    assert joining_address(settings) == "https://10.9.0.1:6443"
    assert settings.api_address == "https://127.0.0.1:6443"
    assert settings.server.pods_address == settings.server.advertise_address == "10.9.0.1"
    planned = hosts.planned(settings)
    assert [(host.name, host.address, host.gateway) for host in planned] == [
        ("m-2", "10.9.0.2", "10.9.0.1"),
        ("m-3", "10.9.0.3", "10.9.0.1"),
    ]
    assert len({host.wire for host in planned} | {hosts.bridge_of(settings.installation)}) == 3
    assert len({host.paths.instance for host in planned} | {settings.installation.instance}) == 3


def test_a_server_at_every_address_is_reached_at_its_nodes(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, server={"listen": "0.0.0.0:6443"}, node={"address": "192.0.2.7"})
    assert joining_address(settings) == "https://192.0.2.7:6443"
    assert settings.server.advertise_address == "192.0.2.7", "pods are told too"
    one = settings_at(tmp_path, server={"listen": "192.0.2.8:6443"})
    assert (joining_address(one), one.server.advertise_address) == ("https://192.0.2.8:6443", "")
    assert joining_address(settings_at(tmp_path)) == ""


def test_names_of_interfaces_fit_the_kernel(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, hosts={"count": 250})
    assert max(len(host.wire) for host in hosts.planned(settings)) <= 15


@pytest.mark.parametrize(("count", "network"), [(0, "10.9.0.0/24"), (255, "10.9.0.0/24"), (2, "fd00::/64"), (2, "x")])
def test_more_hosts_than_addresses_are_refused(tmp_path: Path, count: int, network: str) -> None:
    with pytest.raises(SettingRefused, match="hosts"):
        settings_at(tmp_path, hosts={"count": count, "network": network})


def test_hosts_are_told_what_their_operator_has_decided_and_not_who_this_machine_is(tmp_path: Path) -> None:
    node = {"heartbeat_seconds": 2, "max_pods": 50, "name": "m", "pod_cidr": "10.244.9.0/24", "labels": {"a": "b"}}
    settings = settings_at(tmp_path, hosts={"count": 2}, node=node)
    [host] = hosts.planned(settings)
    told = hosts.settings_of(host, settings)["node"]
    assert told == {
        "heartbeat_seconds": 2.0, "max_pods": 50, "labels": {"a": "b"}, "name": "m-2", "address": "10.245.0.2",
    }  # fmt: skip
    # And it is a settings file.
    (tmp_path / "s.yaml").write_text(json.dumps(hosts.settings_of(host, settings)))
    read = composing.load(data_dir=tmp_path / "b", config=tmp_path / "s.yaml", environment={})
    assert (read.node.max_pods, read.node.name) == (50, "m-2")


def test_a_host_that_nobody_has_made_is_not_found(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, hosts={"count": 2}, node={"name": "m"})
    paths = settings.installation
    with pytest.raises(hosts.NoSuchHost, match="there are none: kontinuum up --nodes N"):
        hosts.find(paths, "m-2")
    [host] = hosts.planned(settings)
    (paths.data / "hosts").mkdir(parents=True)
    (paths.data / "hosts" / "m-2.json").write_bytes(msgspec.json.encode(host))
    assert hosts.find(paths, "m-2") == host
    with pytest.raises(hosts.NoSuchHost, match=r'no host "m" here; there are m-2\. This machine itself'):
        hosts.find(paths, "m")
    assert hosts.first_process(host) is None
