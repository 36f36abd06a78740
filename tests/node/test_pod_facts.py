"""Small pure decisions: environment, names, limits, images, probes, users. Cases are Kubernetes' own examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.node.world import container, pod

from kontinuum.api.machinery.objects import Object
from kontinuum.images.references import BadReference, with_tag
from kontinuum.node import cgroups, names
from kontinuum.node.container_config import Attempt, BadContainer, container_config, linux_resources, oom_score
from kontinuum.node.container_mounts import BadMount, volume_mounts
from kontinuum.node.container_status import go_duration, go_milliseconds
from kontinuum.node.environment import expand
from kontinuum.node.fields import NoSuchField, Surroundings, field_value, resource_value
from kontinuum.node.observer import difference
from kontinuum.node.pods import qos_class
from kontinuum.node.port import Fingerprint, Image
from kontinuum.node.probes import Judgement, ProbeSettings, judge
from kontinuum.node.sandbox_config import sandbox_config
from kontinuum.node.server import may_enter
from kontinuum.node.services import service_variables
from kontinuum.node.settings import NodeSettings

EMPTY_RESOLVER = {"servers": ["192.0.2.53"], "searches": ["example.org"], "options": ["timeout:2"]}
AROUND = Surroundings(("10.0.0.7",), "192.0.2.1", node_cpu=2000, node_memory=1 << 30)


def full(**spec: object) -> Object:
    made = pod(**spec)
    made["metadata"] |= {"uid": "u", "labels": {"a": 'x"y'}, "annotations": {"n/k": "v"}}
    return made


def resources(cpu: str = "", memory: str = "", *, requests: dict[str, str] | None = None) -> Object:
    limits = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"resources": {"limits": limits, "requests": requests or {}}}


def test_services_are_told_as_links_once_were() -> None:
    """The variables of Kubernetes' documentation of Services ("Discovering services")."""

    def service(name: str, ip: str, *ports: Object, namespace: str = "default") -> Object:
        return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": list(ports)}}

    redis = service("redis-primary", "10.0.0.11", {"port": 6379, "protocol": "TCP"})
    api = service("kubernetes", "10.96.0.1", {"name": "https", "port": 443})
    headless = service("headless", "None", {"port": 1})
    dual = service("six", "fd00::1", {"name": "a-b", "port": 1, "protocol": "UDP"}, {"name": "c", "port": 2})
    assert service_variables(full(), [redis, headless], None) == {
        "REDIS_PRIMARY_SERVICE_HOST": "10.0.0.11",
        "REDIS_PRIMARY_SERVICE_PORT": "6379",
        "REDIS_PRIMARY_PORT": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP": "tcp://10.0.0.11:6379",
        "REDIS_PRIMARY_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_PRIMARY_PORT_6379_TCP_PORT": "6379",
        "REDIS_PRIMARY_PORT_6379_TCP_ADDR": "10.0.0.11",
    }
    told = service_variables(full(), [dual], api)
    assert told["SIX_PORT"] == "udp://[fd00::1]:1"
    assert told["SIX_SERVICE_PORT_A_B"] == "1"
    assert told["SIX_PORT_2_TCP"] == "tcp://[fd00::1]:2"
    assert told["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert (
        service_variables(full(enableServiceLinks=False), [redis], api).keys()
        == service_variables(full(), [], api).keys()
    )


@pytest.mark.parametrize(
    ("expression", "problem"),
    [("$(NONE)", "missing value for NONE"), ("$(EMPTY)/x", "missing value for EMPTY"),
     ("$(UP)", r"unable to provision SubPath `\.\.`: must not contain '\.\.'"),
     ("$(ROOT)", "error SubPath `/tmp` must not be an absolute path")],
)  # fmt: skip
def test_a_path_below_a_volume_is_refused_where_its_variables_lead_nowhere_good(
    tmp_path: Path, expression: str, problem: str
) -> None:
    values = {"EMPTY": "", "UP": "..", "ROOT": "/tmp", "GOOD": "a/b"}
    mount = {"name": "v", "mountPath": "/v", "subPathExpr": expression}
    with pytest.raises(BadMount, match=problem):
        volume_mounts(container("app", volumeMounts=[mount]), [], {"v": tmp_path}, values)
    mount["subPathExpr"] = "$(GOOD)"
    (made,) = volume_mounts(container("app", volumeMounts=[mount]), [], {"v": tmp_path}, values)
    assert made["host_path"] == str(tmp_path / "a/b")


@pytest.mark.parametrize(
    ("wish", "can", "is_deep"),
    [("Enabled", True, True), ("IfPossible", True, True), ("IfPossible", False, False), ("Disabled", True, False),
     (None, True, False)],
)  # fmt: skip
def test_a_mount_is_read_only_all_the_way_down_where_it_is_to_be_and_can_be(
    tmp_path: Path, wish: str | None, can: bool, is_deep: bool
) -> None:
    mount = {"name": "v", "mountPath": "/v", "readOnly": True, **({"recursiveReadOnly": wish} if wish else {})}
    of = container("app", volumeMounts=[mount])
    (made,) = volume_mounts(of, [], {"v": tmp_path}, {}, can_be_deep=can)
    assert made["recursive_read_only"] is is_deep


def test_a_mount_that_must_be_read_only_all_the_way_down_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    mount = {"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "Enabled"}
    with pytest.raises(BadMount, match="not supported by the container runtime"):
        volume_mounts(container("app", volumeMounts=[mount]), [], {"v": tmp_path}, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_a_pod_can_learn_its_fields() -> None:
    assert field_value(full(), "metadata.labels['a']", AROUND) == 'x"y'
    assert field_value(full(), "metadata.labels", AROUND) == 'a="x\\"y"'
    assert field_value(full(), "status.podIP", AROUND) == "10.0.0.7"
    with pytest.raises(NoSuchField):
        field_value(full(), "spec.containers", AROUND)


def test_a_resource_is_divided_and_rounded_up_and_defaults_to_the_node() -> None:
    one = full(containers=[container("app", **resources(cpu="250m", memory="10Mi"))])
    assert resource_value(one, {"resource": "limits.cpu"}, "app", AROUND) == "1"
    assert resource_value(one, {"resource": "limits.cpu", "divisor": "1m"}, "app", AROUND) == "250"
    assert resource_value(one, {"resource": "limits.memory", "divisor": "1Mi"}, "app", AROUND) == "10"
    assert resource_value(full(), {"resource": "limits.cpu"}, "app", AROUND) == "2"


def test_the_quality_of_service_class_follows_requests_and_limits() -> None:
    assert qos_class(full()) == "BestEffort"
    assert qos_class(full(containers=[container("a", **resources("1", "1Gi"))])) == "Guaranteed"
    assert (
        qos_class(full(containers=[container("a", **resources("1", "1Gi", requests={"cpu": "500m"}))])) == "Burstable"
    )
    assert qos_class(full(containers=[container("a", **resources("1", "1Gi")), container("b")])) == "Burstable"


def test_a_pods_limits_are_sums_only_where_every_container_has_one() -> None:
    both = [container("a", **resources("1", "64Mi")), container("b", **resources("500m", "64Mi"))]
    limits = cgroups.pod_limits(full(containers=both), 100)
    assert (limits.cpu_limit, limits.memory_limit, limits.pids) == (1500, 128 << 20, 100)
    overhead = full(containers=both, overhead={"cpu": "100m", "memory": "32Mi"})
    assert cgroups.pod_limits(overhead, 0).memory_limit == 160 << 20
    assert cgroups.pod_limits(full(containers=[both[0], container("c")]), 0).memory_limit == 0
    init = full(containers=both[:1], initContainers=[container("i", **resources("3", "1Gi"))])
    assert (cgroups.pod_limits(init, 0).cpu_limit, cgroups.pod_limits(init, 0).memory_limit) == (3000, 1 << 30)


def test_a_machine_may_use_more_than_its_guest_gives_to_its_containers() -> None:
    limited = cgroups.PodLimits(cpu_request=500, cpu_limit=10, memory_limit=1 << 20, pids=9)
    assert cgroups.with_headroom(limited) == cgroups.PodLimits(500, 110, 1 << 20, 9)
    assert cgroups.with_headroom(cgroups.PodLimits(500)) == cgroups.PodLimits(500)


def test_what_a_pod_says_of_itself_as_a_whole_comes_first() -> None:
    """KEP-2837: its class, the limits of containers that have none, who is killed first, what a container learns."""
    amounts = {"cpu": "1", "memory": "512Mi"}
    made = full(resources={"limits": amounts, "requests": amounts}, containers=[container("a"), container("b")])
    (first, _) = made["spec"]["containers"]
    assert qos_class(made) == "Guaranteed"
    assert linux_resources(made, first, 1 << 30)["memory_limit_in_bytes"] == 512 << 20
    assert linux_resources(made, {**first, **resources("", "1Mi")}, 1 << 30)["memory_limit_in_bytes"] == 1 << 20
    assert linux_resources(made, first, 1 << 30)["cpu_shares"] == 2
    assert resource_value(made, {"resource": "limits.memory", "divisor": "1Mi"}, "a", AROUND) == "512"
    less = full(resources={"requests": amounts}, containers=[container("a"), container("b")])
    assert qos_class(less) == "Burstable"
    assert oom_score(less, less["spec"]["containers"][0], 1 << 30) == 750


def test_limits_are_written_as_both_versions_of_cgroups_want_them() -> None:
    limits = cgroups.PodLimits(cpu_request=500, cpu_limit=1500, memory_limit=1 << 20, pids=9)
    assert set(cgroups.files_v1(limits)) == {
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_quota_us", "150000"),
        ("memory", "memory.limit_in_bytes", "1048576"),
        ("pids", "pids.max", "9"),
    }
    assert dict(cgroups.files_v2(limits)) == {
        "cpu.weight": "20", "cpu.max": "150000 100000", "memory.max": "1048576", "pids.max": "9",
    }  # fmt: skip
    assert cgroups.weight(2) == 1
    assert cgroups.weight(262_144) == 10_000


def test_who_asked_for_little_is_killed_first() -> None:
    guaranteed = full(containers=[container("a", **resources("1", "1Gi"))])
    assert oom_score(guaranteed, guaranteed["spec"]["containers"][0], 4 << 30) == -997
    burstable = full(containers=[container("a", resources={"requests": {"memory": "1Gi"}})])
    assert oom_score(burstable, burstable["spec"]["containers"][0], 4 << 30) == 750
    assert oom_score(full(), container("a"), 4 << 30) == 1000


def test_names_are_resolved_by_policy() -> None:
    cluster = NodeSettings(cluster_dns=("10.96.0.10",))
    first = names.dns_config(full(), cluster, EMPTY_RESOLVER)
    assert first["servers"] == ["10.96.0.10"]
    assert first["searches"][:3] == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    assert first["options"] == ["ndots:5"]
    assert names.dns_config(full(dnsPolicy="Default"), cluster, EMPTY_RESOLVER) == EMPTY_RESOLVER
    assert names.dns_config(full(hostNetwork=True), cluster, EMPTY_RESOLVER) == EMPTY_RESOLVER
    assert names.dns_config(full(), NodeSettings(), EMPTY_RESOLVER) == EMPTY_RESOLVER
    own = {"nameservers": ["192.0.2.99"], "searches": ["s"], "options": [{"name": "ndots", "value": "2"}]}
    assert names.dns_config(full(dnsPolicy="None", dnsConfig=own), cluster, EMPTY_RESOLVER) == {
        "servers": ["192.0.2.99"], "searches": ["s"], "options": ["ndots:2"],
    }  # fmt: skip


def test_the_servers_of_the_policy_are_asked_before_the_pod_s_own_and_no_more_than_libc_asks() -> None:
    cluster = NodeSettings(cluster_dns=("10.96.0.10",))
    own = {"nameservers": ["192.0.2.1", "10.96.0.10", "192.0.2.2"], "searches": ["s"]}
    assert names.dns_config(full(dnsConfig=own), cluster, EMPTY_RESOLVER)["servers"] == [
        "10.96.0.10", "192.0.2.1", "192.0.2.2",
    ]  # fmt: skip
    assert names.dns_omissions(full(dnsConfig=own), cluster, EMPTY_RESOLVER) == []
    many = {"nameservers": [f"192.0.2.{number}" for number in range(1, 4)]}
    many["searches"] = [f"{number}.{'long' * 60}" for number in range(9)]
    made = full(dnsConfig=many)
    applied = names.dns_config(made, cluster, EMPTY_RESOLVER)
    assert applied["servers"] == ["10.96.0.10", "192.0.2.1", "192.0.2.2"]
    assert len(applied["searches"]) == 4 + 8 and len(" ".join(applied["searches"])) <= 2048
    servers, searches = names.dns_omissions(made, cluster, EMPTY_RESOLVER)
    assert servers == (
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        "the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2"
    )
    assert searches.startswith("Search Line limits were exceeded, some search paths have been omitted, the applied")


def test_the_hosts_file_names_the_pod_and_its_aliases() -> None:
    made = full(hostname="h", subdomain="s", hostAliases=[{"ip": "192.0.2.9", "hostnames": ["x", "y"]}])
    lines = names.hosts_file(made, ("10.0.0.7",), "cluster.local").splitlines()
    assert "10.0.0.7\th.s.default.svc.cluster.local\th" in lines
    assert lines[-2:] == ["# Entries added by HostAliases.", "192.0.2.9\tx\ty"]


def test_a_pod_s_kernel_can_be_told_its_whole_name_or_another() -> None:
    made = full(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert names.kernel_name(made, "cluster.local") == "h.s.default.svc.cluster.local"
    assert names.kernel_name(full(setHostnameAsFQDN=True, hostname="h"), "cluster.local") == "h"
    other = full(hostname="h", subdomain="s", hostnameOverride="db.example.org")
    assert names.kernel_name(other, "cluster.local") == "db.example.org"
    assert "10.0.0.7\tdb.example.org" in names.hosts_file(other, ("10.0.0.7",), "cluster.local").splitlines()
    with pytest.raises(names.NameTooLong, match=r"\(64 characters is the max, 78 characters requested\)"):
        names.kernel_name(full(hostname="h" * 50, subdomain="s", setHostnameAsFQDN=True), "cluster.local")


def test_image_names_are_completed_and_bad_ones_refused() -> None:
    assert with_tag("busybox") == "docker.io/library/busybox:latest"
    assert with_tag("a/b:1") == "docker.io/a/b:1"
    assert with_tag("localhost/a") == "localhost/a:latest"
    assert with_tag("r.example:5000/a@sha256:" + "0" * 64).endswith("0" * 64)
    with pytest.raises(BadReference, match="must be lowercase"):
        with_tag("UPPER/Case:1")
    for bad in ("", " ", "a b", "a::b", "http://a/b", "a@sha256:12"):
        with pytest.raises(BadReference):
            with_tag(bad)


def test_a_probe_needs_its_thresholds_in_a_row() -> None:
    settings = ProbeSettings(success_threshold=2, failure_threshold=3)
    judgement = Judgement()
    verdicts = []
    for succeeded in (True, False, True, True, False, False, True, False, False, False, True, True):
        judgement = judge(judgement, succeeded, settings)
        verdicts.append(judgement.good)
    assert verdicts == [None, None, None, True, True, True, True, True, True, False, False, True]


def test_non_root_is_enforced_before_the_container_is_made() -> None:
    def make(context: Object, image: Image) -> Object:
        made = full(securityContext=context)
        config = container_config(made, container("app"), Attempt(0, 0), image, environment={}, mounts=[],
                                  node_memory=1 << 30, profiles=Path("/profiles"))  # fmt: skip
        found: Object = config["linux"]["security_context"]
        return found

    non_root = {"runAsNonRoot": True}
    with pytest.raises(BadContainer, match="image will run as root"):
        make(non_root, Image("i", 1))
    with pytest.raises(BadContainer, match="non-numeric user"):
        make(non_root, Image("i", 1, None, "www"))
    with pytest.raises(BadContainer, match="breaks non-root policy"):
        make(non_root | {"runAsUser": 0}, Image("i", 1, 1000))
    assert make(non_root, Image("i", 1, 1000))["run_as_user"] == {"value": 1000}
    assert make({}, Image("i", 1, None, "www"))["run_as_username"] == "www"
    assert make({"runAsGroup": 5}, Image("i", 1))["run_as_user"] == {"value": 0}


def test_a_sandbox_tells_how_large_the_pod_may_get() -> None:
    made = full(containers=[container("a", **resources("1", "64Mi"))], overhead={"memory": "32Mi"})
    linux = sandbox_config(made, 0, NodeSettings(data_dir="/d"), EMPTY_RESOLVER)["linux"]
    assert linux["resources"]["memory_limit_in_bytes"] == 64 << 20
    assert linux["resources"]["cpu_quota"] == 100_000
    assert linux["overhead"]["memory_limit_in_bytes"] == 32 << 20
    assert linux["cgroup_parent"].endswith("/podu")


def test_only_the_api_server_and_administrators_may_enter() -> None:
    def certificate(name: str, *groups: str) -> Object:
        return {"subject": ((("commonName", name),), *((("organizationName", group),) for group in groups))}

    assert may_enter(certificate("kube-apiserver-kubelet-client"))
    assert may_enter(certificate("someone", "system:masters"))
    assert not may_enter(certificate("system:node:n1", "system:nodes"))
    assert not may_enter(None)


def test_durations_read_as_gos() -> None:
    assert [go_duration(seconds) for seconds in (0, 10, 80, 300, 3600)] == ["0s", "10s", "1m20s", "5m0s", "1h0m0s"]


def test_a_vanished_pod_is_a_change_too() -> None:
    one = Fingerprint("ns", "p", frozenset({("c", 1)}))
    assert difference({"u": one}, {"u": one}) == {}
    assert difference({"u": one}, {}) == {"u": Fingerprint("ns", "p", frozenset())}


def test_short_durations_are_written_as_go_writes_them() -> None:
    written = [go_milliseconds(one) for one in (0, 0.25, 1, 1.2345, 62.5, 3600.001)]
    assert written == ["0s", "250ms", "1s", "1.234s", "1m2.5s", "1h0m0.001s"]
