"""What a node tells of itself and its pods: the Summary API, metrics by the kubelet's names, settings, logs."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.node.world import World, container, play, pod

from kontinuum.api.machinery.objects import Object
from kontinuum.foundation import tallies
from kontinuum.node import node_logs, pages
from kontinuum.node.observed import Container, ContainerState, Observed
from kontinuum.node.port import ContainerUsage
from kontinuum.node.probe_counts import ProbeCounts
from kontinuum.node.settings import NodeSettings
from kontinuum.node.usage import claims, metrics, network
from kontinuum.node.usage.exposition import Family, text
from kontinuum.node.usage.gathering import Rates
from kontinuum.node.usage.network import Interface
from kontinuum.node.usage.readings import ContainerReading, MachineReading, NodeReading, PodReading, Space
from kontinuum.node.usage.summary import resource_summary, summary
from kontinuum.node.usage.values import ContainerTakes, Disk, PodUsage, VolumeTakes

SETTINGS = NodeSettings(data_dir="/d")
SPACE = Space(capacity=1000, available=400, inodes=100, inodes_free=60)


def reading() -> NodeReading:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    made = pod(containers=[container("app", resources=resources)], runtimeClassName="microvm")
    made["metadata"]["uid"] = "u"
    made["status"] = {"startTime": "2026-01-02T03:04:05Z"}
    used = ContainerUsage("c1", "u", "default", "p", "app", 1000.0, 2_500_000_000, 300, 7, 3, 400, 200, 9, 1)
    takes = ContainerTakes(300, Disk(7, 3), Disk(5, 1))
    usage = PodUsage(1300, 12, {"app": takes}, {"s": VolumeTakes(Disk(8, 2), is_local=True)})
    machine = MachineReading(
        cpu_nanoseconds=8_000_000_000, cpus=2, memory_total=10_000, memory_available=4_000, swap_total=50, swap_free=20,
        most_processes=4096, processes=77, nodefs=SPACE, imagefs=SPACE, image_bytes=123,
        interfaces={"eth0": Interface("eth0", 1, 0, 2, 0)}, default_interface="eth0", started=500.0,
    )  # fmt: skip
    one = PodReading(
        made, usage, 4_000_000_000, 150, Interface("eth0", 10, 1, 20, 2),
        [ContainerReading(used, takes, 900.0, "app:1", 100)],
    )  # fmt: skip
    return NodeReading("n1", 1000.0, machine, 500, {"kubelet": (1, 2)}, [one])


def test_the_summary_is_complete_and_of_its_form() -> None:
    told = summary(reading())
    node, (one,) = told["node"], told["pods"]
    assert node["memory"]["workingSetBytes"] == 6000
    assert node["swap"]["swapUsageBytes"] == 30
    assert (node["fs"]["usedBytes"], node["fs"]["inodesUsed"]) == (600, 40)
    assert node["runtime"]["imageFs"]["usedBytes"] == 123
    assert node["runtime"]["containerFs"]["usedBytes"] == 7
    assert node["rlimit"]["curproc"] == 77
    assert node["network"]["txBytes"] == 2
    assert node["systemContainers"][0]["name"] == "kubelet"
    assert (one["cpu"]["usageCoreNanoSeconds"], one["cpu"]["usageNanoCores"]) == (4_000_000_000, 150)
    assert one["memory"]["workingSetBytes"] == 1300
    assert one["network"]["interfaces"][0]["rxErrors"] == 1
    assert (one["ephemeral-storage"]["usedBytes"], one["ephemeral-storage"]["inodesUsed"]) == (20, 6)
    assert one["volume"][0]["name"] == "s"
    assert one["process_stats"] == {"process_count": 12}
    (main,) = one["containers"]
    assert (main["rootfs"]["usedBytes"], main["logs"]["usedBytes"], main["memory"]["rssBytes"]) == (7, 5, 200)
    few = resource_summary(reading())
    assert set(few["pods"][0]) == {"podRef", "startTime", "containers", "cpu", "memory"}
    assert set(few["pods"][0]["containers"][0]) == {"name", "startTime", "cpu", "memory"}


def claiming(*claims: str) -> Object:
    volumes = [{"name": f"of-{one}", "persistentVolumeClaim": {"claimName": one}} for one in claims]
    return pod(volumes=[*volumes, {"name": "scratch", "emptyDir": {}}])


def test_the_volumes_of_claims_are_told_as_full_as_their_pods_see_them(tmp_path: Path) -> None:
    files, machines, raw = (tmp_path / name for name in ("of-files", "of-machines", "of-raw"))
    image = tmp_path / "image"
    image.write_bytes(bytes(8192))
    os.truncate(image, 1 << 20)
    for place in (files, machines, raw):
        place.mkdir()
    (tmp_path / "of-machines.disk").write_text(json.dumps({"image": str(image), "fileSystem": "ext4"}))
    (tmp_path / "of-raw.disk").write_text(json.dumps({"image": str(image)}))
    places = {"of-files": files, "of-machines": machines, "of-raw": raw, "of-gone": tmp_path / "gone"}
    made = claiming("files", "machines", "raw", "gone", "not-yet")
    found = {one.claim: one for one in claims.read(made, places)}
    assert set(found) == {"files", "machines", "raw"}
    whole = os.statvfs(files)
    assert found["files"].capacity == whole.f_blocks * whole.f_frsize
    assert found["files"].inodes == whole.f_files
    assert (found["machines"].capacity, found["machines"].used) == (1 << 20, image.stat().st_blocks * 512)
    assert found["raw"] == claims.ClaimReading("of-raw", "raw", 1 << 20)

    before = reading()
    told = summary(replace(before, pods=[replace(before.pods[0], claims=list(found.values()))]))["pods"][0]["volume"]
    of_raw = next(one for one in told if one["name"] == "of-raw")
    assert of_raw["pvcRef"] == {"name": "raw", "namespace": "default"}
    assert {key for key in of_raw if key.endswith("Bytes")} == {"capacityBytes"}
    body = text(claims.metrics([(made, places), (claiming("files"), places)]))
    labels = 'namespace="default",persistentvolumeclaim="machines"'
    assert samples(body)[f"kubelet_volume_stats_capacity_bytes{{{labels}}}"] == 1 << 20
    assert body.count('kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="files"}') == 1


def samples(body: str) -> dict[str, float]:
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{([a-z_]+="[^"]*",?)*\})? -?[0-9.e+]+( \d+)?', line) for line in lines), body
    return {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines}


def test_resource_metrics_have_the_kubelets_names() -> None:
    found = samples(metrics.resource(reading()))
    assert found['container_cpu_usage_seconds_total{container="app",namespace="default",pod="p"}'] == 2.5
    assert found['pod_memory_working_set_bytes{namespace="default",pod="p"}'] == 1300
    assert (found["node_cpu_usage_seconds_total"], found["resource_scrape_error"]) == (8.0, 0)
    assert found['container_start_time_seconds{container="app",namespace="default",pod="p"}'] == 900.0


def test_cadvisors_series_are_there_for_containers_and_pods_and_the_classs_own_share_beside_them() -> None:
    found = samples(metrics.cadvisor(reading(), SETTINGS))
    whole = f'container="",id="{SETTINGS.cgroup}/kubepods/burstable/podu",image="",name="",namespace="default",pod="p"'
    main = (f'container="app",id="{SETTINGS.cgroup}/kubepods/burstable/podu/c1",image="app:1",name="c1",'
            'namespace="default",pod="p"')  # fmt: skip
    assert found[f'container_cpu_usage_seconds_total{{{main},cpu="total"}}'] == 2.5
    assert found[f"container_memory_working_set_bytes{{{whole}}}"] == 1300
    assert found[f"container_memory_rss{{{main}}}"] == 200
    assert found[f"container_spec_cpu_quota{{{main}}}"] == 50_000
    assert found[f"container_spec_memory_limit_bytes{{{whole}}}"] == 64 << 20
    assert found[f'container_network_receive_bytes_total{{{whole},interface="eth0"}}'] == 10
    assert found[f"container_fs_usage_bytes{{{main}}}"] == 7
    assert found['kontinuum_pod_overhead_memory_bytes{namespace="default",pod="p",class="microvm"}'] == 1000
    assert found['kontinuum_pod_overhead_cpu_seconds_total{namespace="default",pod="p",class="microvm"}'] == 1.5
    before = reading()
    undivided = replace(before, pods=[replace(before.pods[0], is_divided=False)])
    assert "overhead" not in metrics.cadvisor(undivided, SETTINGS), (
        "what cannot be told apart is not said to be nothing"
    )
    assert found["machine_cpu_cores"] == 2


def test_labels_are_escaped() -> None:
    family = Family("x", "gauge", "X.")
    family.add(1, {"a": 'q"\\\n'})
    assert text([family, Family("empty", "gauge", "None.")]) == '# HELP x X.\n# TYPE x gauge\nx{a="q\\"\\\\\\n"} 1\n'


def test_rates_need_two_looks_some_seconds_apart_and_a_life_that_lasts() -> None:
    rates = Rates()
    told = []
    for at, cpu in ((0.0, 0), (1.0, 10**9), (10.0, 10**10), (12.0, 5 * 10**10), (20.0, 10), (30.0, 10**9 + 10)):
        told.append(rates.rate("a", at, cpu))
        rates.end_look()
    assert told == [None, None, 10**9, 10**9, None, 10**8]


def test_pods_are_counted_at_the_hosts_end_of_their_wires(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/route").write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n"
        "veth7 0500F40A 00000000 0005 0 0 0 FFFFFFFF 0 0 0\n"
    )
    (tmp_path / "net/ipv6_route").write_text(
        "fd000007000000000000000000000005 80 " + "0" * 32 + " 00 " + "0" * 32 + " 00000400 1 0 00000001 veth7\n"
    )
    (tmp_path / "net/dev").write_text("Inter-|\n face |\n veth7: 5 1 2 0 0 0 0 0 9 1 3 0 0 0 0 0\n")
    wired, counted = network.wires(tmp_path), network.counters(tmp_path)
    assert wired == {"10.244.0.5": "veth7", "fd00:7::5": "veth7"}
    assert network.of_pod(("10.244.0.5",), wired, counted) == Interface("eth0", 9, 3, 5, 2)
    assert network.of_pod(("10.244.0.9",), wired, counted) is None
    assert network.default_interface(tmp_path) == "eth0"
    assert network.wires(tmp_path / "nothing") == {}


def test_probes_are_counted_by_result_until_their_pod_is_gone(tmp_path: Path) -> None:
    worlds: list[World] = []

    async def story(world: World) -> None:
        worlds.append(world)
        probe = {"periodSeconds": 1, "exec": {"command": ["true"]}}
        await world.create(pod(containers=[container("app", readinessProbe=probe)]))
        await world.wait(lambda one: one["containerStatuses"][0]["ready"])
        world.checks.is_well = False
        await world.wait(lambda one: not one["containerStatuses"][0]["ready"])
        await asyncio.sleep(2)
        counts = world.tools.probe_counts
        uid = (await world.get())["metadata"]["uid"]
        labels = 'container="app",namespace="default",pod="p"'
        found = samples(counts.render({uid}))
        for result in ("successful", "failed"):
            key = f'prober_probe_total{{{labels},pod_uid="{uid}",probe_type="Readiness",result="{result}"}}'
            assert found[key] > 0
        total = found[f'prober_probe_duration_seconds_count{{{labels},probe_type="Readiness"}}']
        assert found[f'prober_probe_duration_seconds_bucket{{{labels},probe_type="Readiness",le="+Inf"}}'] == total
        assert counts.render(set()) == ProbeCounts().render({uid})

    play(tmp_path, story)


def test_the_configuration_is_told_in_the_kubelets_fields() -> None:
    soft, grace = {"memory.available": "1Gi"}, {"memory.available": 90.0}
    told = pages.configuration(NodeSettings(eviction_soft=soft, eviction_soft_grace_period=grace, max_pods=7))
    assert (told["maxPods"], told["kind"]) == (7, "KubeletConfiguration")
    assert told["evictionSoftGracePeriod"] == {"memory.available": "90s"}
    assert told["evictionHard"]["memory.available"] == "100Mi"


def test_running_pods_are_what_the_runtime_runs() -> None:
    made = pod()
    made["metadata"]["uid"] = "u"
    running = Container("c1", "s1", "app", 0, ContainerState.RUNNING, 1.0, image="app:1")
    told: Any = pages.running_pod(made, Observed.of([], [running]))
    assert told["metadata"] == {"name": "p", "namespace": "default", "uid": "u"}
    assert told["spec"]["containers"] == [{"name": "app", "image": "app:1", "resources": {}}]
    assert pages.running_pod(made, Observed()) is None


# Node logs


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"query": "../etc/passwd"}, "neither a service's name nor a file"),
        ({"query": "-u"}, "neither a service's name nor a file"),
        ({"query": "kubelet", "boot": "1"}, "boot: must be less than 1"),
        ({"query": "kubelet", "tailLines": "100001"}, "tailLines: must be between 0 and 100,000, inclusive"),
        ({"query": "kubelet", "pattern": "("}, "pattern: "),
        ({"query": "kubelet", "sinceTime": "yesterday"}, "reading the options"),
        ({"query": "kubelet", "sinceTime": "2026-01-02T00:00:00Z", "untilTime": "2026-01-01T00:00:00Z"}, "untilTime"),
        ({"query": "kubelet", "follow": "true"}, "follow: there is no such option"),
    ],
)
def test_bad_questions_for_logs_are_refused(asked: dict[str, str], problem: str) -> None:
    with pytest.raises(node_logs.BadQuery, match=re.escape(problem)):
        node_logs.Query.of(asked)


async def test_our_parts_logs_are_cut_by_time_pattern_and_number(tmp_path: Path) -> None:
    (tmp_path / "node.log").write_text(
        '{"event": "one", "timestamp": "2026-01-01T00:00:00Z"}\n'
        '{"event": "two", "timestamp": "2026-01-01T00:01:00Z"}\n  a line that goes with it\n'
        '{"event": "three", "timestamp": "2026-01-01T00:02:00Z"}\n'
    )

    async def found(**asked: str) -> list[str]:
        text = await node_logs.query(tmp_path, node_logs.Query.of({"query": "kubelet", **asked}))
        return re.findall("one|two|goes|three", text.decode())

    assert await found() == ["one", "two", "goes", "three"]
    assert await found(tailLines="1") == ["three"]
    assert await found(tailLines="0") == []
    assert await found(pattern="t(wo|hree)") == ["two", "three"]
    window = {"sinceTime": "2026-01-01T00:00:30Z", "untilTime": "2026-01-01T00:01:30Z"}
    assert await found(**window) == ["two", "goes"]
    with pytest.raises(node_logs.BadQuery, match="boot"):
        await found(boot="-1")


def test_nothing_outside_of_the_systems_logs_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "log"
    (logs / "below").mkdir(parents=True)
    (logs / "a&b.log").write_text("x")
    (tmp_path / "secret").write_text("x")
    (logs / "link").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(node_logs, "SYSTEM", logs)
    assert node_logs.place_of("a&b.log").read_text() == "x"
    for path in ("../secret", "/../secret", "link", "missing"):
        with pytest.raises(node_logs.NoSuchLog):
            node_logs.place_of(path)
    assert '<a href="a&amp;b.log">a&amp;b.log</a>' in pages.listing(logs)
    assert '<a href="below/">below/</a>' in pages.listing(logs)


def test_starts_of_machines_are_told_by_how_they_came_up_and_those_that_wait_are_not_offered(tmp_path: Path) -> None:
    settings = NodeSettings(name="n", data_dir="/d", run_dir=str(tmp_path))
    for path in ("warm", "warm", "template"):
        tallies.add(settings.machine_starts, path)
    told = text((pages.machine_starts(tallies.read(settings.machine_starts)),))
    assert 'kontinuum_machine_starts_total{path="warm"} 2' in told
    assert 'kontinuum_machine_starts_total{path="template"} 1' in told
    waiting = msgspec.structs.replace(settings, warm_machines=2)
    assert waiting.reserved.memory == settings.reserved.memory + 2 * (64 << 20)
