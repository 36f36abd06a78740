"""From OCI specifications to the guest's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kontinuum.runtime import oci
from kontinuum.runtime.guest.port import Mount
from kontinuum.runtime.oci import Resources, Role, SpecRefused

CRI = "io.kubernetes.cri."


def annotated(**annotations: str) -> dict[str, Any]:
    return {"annotations": {CRI + name.replace("_", "-"): value for name, value in annotations.items()}}


def sandbox(*shared: str, **annotations: str) -> dict[str, Any]:
    """A pod's, which shares these namespaces with the host."""
    own = [{"type": kind} for kind in ("network", "pid", "ipc") if kind not in shared]
    return {**annotated(container_type="sandbox", **annotations), "linux": {"namespaces": own}}


def test_roles_are_told_by_containerds_annotation() -> None:
    assert oci.role_of(annotated(container_type="sandbox")) is Role.SANDBOX
    assert oci.role_of(annotated(container_type="container")) is Role.MEMBER
    assert oci.role_of({}) is Role.ALONE


def test_a_member_names_its_sandbox() -> None:
    assert oci.sandbox_id_of(annotated(sandbox_id="s")) == "s"
    with pytest.raises(SpecRefused, match="sandbox-id"):
        oci.sandbox_id_of({})


def test_a_pods_limits_come_from_its_sandbox() -> None:
    limits = sandbox(sandbox_memory="134217728", sandbox_cpu_quota="150000", sandbox_cpu_period="50000")
    pod = oci.pod_of(limits, "s")
    assert pod.resources == Resources(memory_bytes=134217728, cpu_quota_microseconds=300_000)
    assert pod.resources.cpus == 3
    assert oci.pod_of(sandbox(sandbox_memory="0"), "s").resources == Resources()


def test_a_pod_has_the_network_namespace_that_cni_prepared() -> None:
    namespaces = [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}]
    assert oci.pod_of({"linux": {"namespaces": namespaces}}, "s").network_namespace == Path("/run/netns/x")
    assert oci.pod_of({"linux": {"namespaces": [{"type": "pid"}]}}, "s").network_namespace is None


@pytest.mark.parametrize(("shared", "field"), [("network", "hostNetwork"), ("pid", "hostPID"), ("ipc", "hostIPC")])
def test_a_pod_that_would_share_with_the_host_is_refused_by_the_name_of_its_field(shared: str, field: str) -> None:
    with pytest.raises(SpecRefused, match=f"^{field} is not offered by microVMs: "):
        oci.pod_of(sandbox(shared), "s")


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, Resources()),
        ({"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": 0}}, Resources()),
        ({"memory": {"limit": 0x7FFFFFFFFFFFF000}}, Resources()),
        ({"memory": {"limit": 5}, "cpu": {"quota": 50_000}, "pids": {"limit": 9}}, Resources(5, 50_000, 9)),
    ],
)
def test_limits_that_mean_none_become_none(resources: dict[str, Any], expected: Resources) -> None:
    assert oci.resources_of(resources) == expected


def test_bind_mounts_point_into_the_guest_and_the_hosts_cgroups_stay_out() -> None:
    spec = {
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            {"destination": "/data", "type": "bind", "source": "/host", "options": ["rbind", "ro"]},
        ],
        "root": {"readonly": True},
        "linux": {
            "resources": {"memory": {"limit": 77}},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    }
    made = oci.container_spec(spec, "c", slot="vdb", layer="vdc", file_system="erofs", volumes={"/host": "/guest/0"})
    assert made.mounts == (
        Mount("/proc", "proc", "proc", ("nosuid",)),
        Mount("/data", "bind", "/guest/0", ("rbind", "ro")),
        Mount("/proc/kcore", "masked", "none", ()),
        Mount("/proc/sys", "readonly", "none", ()),
    )
    assert (made.read_only_root, made.memory_limit_bytes, made.slot) == (True, 77, "vdb")


def test_a_process_keeps_user_capabilities_limits_and_terminal_size() -> None:
    process = {
        "args": ["sh", "-c", "true"],
        "env": ["A=b"],
        "cwd": "/work",
        "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_FROM_THE_FUTURE"]},
        "noNewPrivileges": True,
        "consoleSize": {"height": 24, "width": 80},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
    }
    made = oci.process_spec(process, container="c", id="c/e", terminal=True, stdin=True)
    assert (made.arguments, made.environment, made.directory) == (("sh", "-c", "true"), ("A=b",), "/work")
    assert (made.user, made.group, made.additional_groups) == (1, 2, (3,))
    assert made.capabilities == 1 << 0 | 1 << 5
    assert (made.no_new_privileges, made.rows, made.columns, made.rlimits) == (True, 24, 80, ((7, 10, 20),))


def test_a_process_without_a_command_is_refused() -> None:
    with pytest.raises(SpecRefused, match=r"process\.args is empty"):
        oci.process_spec({"args": []}, container="c", id="c", terminal=False, stdin=False)


def test_a_bundle_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecRefused, match=r"config\.json"):
        oci.read_spec(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SpecRefused, match=r"config\.json"):
        oci.read_spec(tmp_path)
