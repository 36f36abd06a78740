"""A real kubelet on this machine, with our API server above it and our shim below: nothing of our node agent's.

``KUBELET`` names its program (1.20, or a newer one that knows --container-runtime). The runtime is put on
the host as docs/how-to/runtime-under-kubernetes.md says, beside a containerd with a bridge of its own; the node joins
with a bootstrap token and asks for its certificates, as any kubelet does.

As a program, with the directory, it removes what a process of tests that was killed has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubectls import newest_kubectl
from tests.lifetimes import BOUND, afterwards, kill, told_of
from tests.machines.containerd import administrators, enter_private_mounts
from tests.machines.networks import own_network, own_services
from tests.machines.platform import KONTINUUM, Object, Platform, wait_until
from tests.machines.shim import ASSETS
from tests.ports import free_port

from kontinuum.api.kubernetes import bootstrap

PROGRAM = os.environ.get("KUBELET", "")
NODE = "theirs"
CLASSES = {"container": "runc", "microvm": "microvm"}
"""The RuntimeClasses and their handlers."""
LABEL = "example.org/microvm"
READY_SECONDS = 120.0
NO_SERVICES = "there is neither a network part nor a DNS"
LATER = "the kubelet is too old for it"
OTHERWISE = "it is our node agent's own way"
LEFT_OUT = {
    "a_class_of_one_s_own_runs_pods": NO_SERVICES,
    "a_pod_learns_how_tokens_are_checked": NO_SERVICES,
    "an_application_of_three_parts_works_and_is_stopped": NO_SERVICES,
    "a_container_s_own_rules_say_after_which_end_it_runs_again": LATER,
    "a_grpc_server_says_how_it_is": LATER,
    "a_pod_lives_and_ends": LATER,
    "a_pod_is_resized_by_replacing_it": LATER,
    "a_visitor_looks_around": LATER,
    "amounts_that_the_kernel_cannot_tell_apart_are_shown_as_asked": LATER,
    "an_images_volume_is_pulled_from_its_registry": LATER,
    "guaranteed_containers_grow_together": LATER,
    "guaranteed_containers_shrink_together": LATER,
    "limits_of_the_pod_as_a_whole_hold_for_its_containers": LATER,
    "scratch_space_in_memory_holds_no_more_than_its_size_limit": LATER,
    "scratch_space_is_shared_and_everybody_s": "the mode of a tmpfs was another once",
    "sidecars_end_after_those_whom_they_serve": LATER,
    "six_containers_change_each_in_its_own_way": LATER,
    "the_files_of_an_image_are_a_volume": LATER,
    "variables_come_from_files_that_the_pod_has_written": LATER,
    "variables_name_a_directory_of_a_volume": "the mode of a directory that is made for a subPath was another once",
    "variables_tell_of_the_pod": LATER,
    "a_log_that_has_grown_too_large_is_begun_anew": OTHERWISE,
    "a_pod_that_writes_more_than_it_may_is_evicted": OTHERWISE,
    "a_profile_of_apparmor_is_held": OTHERWISE,
    "a_replication_controller_is_looked_after": "a kubelet's events say it in other words",
    "volumes_follow_the_pod": "a kubelet adds annotations to what the pod sees",
    "an_image_that_cannot_be_had_keeps_the_pod_waiting_and_says_why": OTHERWISE,
    "groups_of_the_image_are_left_out": LATER,
    "kernel_parameters_that_may_harm_others_are_set": OTHERWISE,
    "users_of_a_pod_are_not_those_of_the_host": LATER,
}
"""Cases of ``pods/`` that no kubelet of this sort can stand, whatever its runtime."""
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet insists on, in /proc/sys. It finds it so, and changes nothing of the host's."""


@dataclass
class Theirs:
    """The host of a kubelet."""

    directory: Path
    number: int = field(default_factory=os.getpid)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def platform(self) -> Platform:
        return Platform(self.directory / "data")

    @property
    def bridge(self) -> str:
        return f"kt{self.number}"

    @property
    def group(self) -> str:
        """The cgroup, in every hierarchy, below which the kubelet's are."""
        return f"/kontinuum-kubelet-{self.number}"

    @property
    def run(self) -> Path:
        return Path("/run/kontinuum") / f"theirs-{self.number}"

    @property
    def socket(self) -> Path:
        return self.directory / "containerd/c.sock"

    @property
    def address(self) -> str:
        """The node's, and the gateway of its pods."""
        return own_network().replace(".0/24", ".1")

    @property
    def server(self) -> str:
        """The API server's. No node gets a certificate for it."""
        return own_network().replace(".0/24", ".2")

    # -- programs

    def start(self, name: str, *command: str | Path, **environment: str) -> None:
        """Run it until ``stop`` or this process's end; what it says is in ``NAME.log``."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*BOUND, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
            )

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        process.send_signal(number)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kubelet(self) -> None:
        self.start(
            "kubelet", PROGRAM,
            "--config", self.directory / "kubelet.yaml",
            "--kubeconfig", self.directory / "kubelet.conf",
            "--bootstrap-kubeconfig", self.directory / "bootstrap.conf",
            "--root-dir", self.directory / "kubelet",
            "--cert-dir", self.directory / "kubelet/pki",
            "--seccomp-profile-root", self.platform.data_dir / "seccomp",
            "--volume-plugin-dir", self.directory / "kubelet/plugins",
            "--hostname-override", NODE,
            "--node-ip", self.address,
            "--container-runtime=remote",
            "--container-runtime-endpoint", f"unix://{self.socket}",
            "--v=2",
        )  # fmt: skip

    def containerd(self) -> None:
        place = self.directory / "containerd"
        self.start(
            "containerd", "containerd", "--config", place / "config.toml",
            PATH=f"{self.directory}/bin:{os.environ['PATH']}",
        )  # fmt: skip
        wait_until("containerd to answer", lambda: self.ctr("version", check=False).returncode == 0)

    def ctr(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120)

    def kontinuum(self, *arguments: str | Path) -> str:
        command = [KONTINUUM, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    # -- what they are told

    def prepare(self) -> None:
        """The host's own: mounts, network, cgroups, containerd's configuration."""
        theirs = self.directory / "containerd"
        for made in (theirs / "cni", self.directory / "kubelet/plugins", self.directory / "var-log", self.run):
            made.mkdir(parents=True)
        _mount("--bind", self.directory / "var-log", "/var/log")
        (tunables := self.directory / "tunables").mkdir()
        for name, value in TUNABLES.items():
            (said := tunables / name.replace("/", "-")).write_text(f"{value}\n")
            _mount("--bind", said, f"/proc/sys/{name}")
        _ip("link", "add", self.bridge, "type", "bridge")
        for address in (self.address, self.server):
            _ip("address", "add", f"{address}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for hierarchy in hierarchies():
            (group := Path(f"{hierarchy}{self.group}")).mkdir(exist_ok=True)
            for given in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / given).exists():
                    (group / given).write_text((hierarchy / given).read_text())
        (theirs / "config.toml").write_text(self.containerd_config())
        (theirs / "cni/10-theirs.conflist").write_text(json.dumps(self._network()))

    def _network(self) -> Object:
        ipam = {
            "type": "host-local", "dataDir": str(self.run / "leases"), "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": own_network(), "gateway": self.address, "rangeStart": f"{self.server}0"}]],
        }  # fmt: skip
        bridge = {"type": "bridge", "bridge": self.bridge, "isGateway": True, "hairpinMode": True, "ipam": ipam}
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": "theirs", "plugins": [bridge, ports]}

    def join(self) -> None:
        """A token, and what the kubelet is told."""
        token = f"{secrets.token_hex(3)}.{secrets.token_hex(8)}"
        self.platform.apply({"apiVersion": "v1", "kind": "Secret", **bootstrap.secret_of(token, expires=None)})
        known = json.loads(self.platform.kubeconfig.read_text())
        known["users"][0]["user"] = {"token": token}
        (self.directory / "bootstrap.conf").write_text(json.dumps(known))
        (self.directory / "kubelet.yaml").write_text(json.dumps(self._kubelet_config()))

    def containerd_config(self) -> str:
        """What its administrator has written."""
        return administrators(self.directory / "containerd", state=self.run / "containerd", socket=self.socket)

    def _kubelet_config(self) -> Object:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.platform.data_dir / "pki/ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.group,
            "enforceNodeAllocatable": ["pods"],
            "failSwapOn": False,
            "serverTLSBootstrap": True,
            "rotateCertificates": True,
            "resolvConf": "/etc/resolv.conf",
            # The cases come all at once; a kubelet would tell and ask no more than five times a second.
            "eventRecordQPS": 100,
            "eventBurst": 200,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "clusterDomain": "cluster.local",
            # Nobody answers there; without it there would be an event about each pod each time that it is looked at.
            "clusterDNS": [self.server],
            "port": 0,
            "address": self.address,
            "healthzPort": 0,
            "evictionHard": {"memory.available": "50Mi"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "5s",
            "syncFrequency": "10s",
            "fileCheckFrequency": "10s",
        }

    # -- everything

    def runtime(self, command: str, *more: str | Path) -> str:
        """``kontinuum runtime COMMAND``, with this host's places in place of the usual ones."""
        place = self.directory
        return self.kontinuum(
            "runtime", command, "--containerd-config", place / "containerd/config.toml", "--bin-dir", place / "bin",
            "--directory", place / "opt", "--run-dir", self.run / "runtime", "--assets", ASSETS, "--no-systemd", *more,
        )  # fmt: skip

    def up(self) -> None:
        self.prepare()
        settings = self.directory / "settings.yaml"
        settings.write_text(
            json.dumps(
                {
                    "server": {"listen": f"{self.server}:{free_port()}", "service_cidrs": own_services()},
                    "controllers": {"isolation_classes": False},
                }
            )
        )
        ours = ("--data-dir", self.platform.data_dir, "--config", settings)
        self.start("server", KONTINUUM, "server", *ours)
        wait_until("the API server", lambda: self.platform.kubectl("get", "--raw", "/readyz", check=False).stdout)
        self.start("controllers", KONTINUUM, "controllers", *ours)
        self.runtime("install")
        self.containerd()
        for image in sorted((ASSETS / "images").glob("*.tar")):
            self.ctr("images", "import", image)
        self.join()
        self.kubelet()
        wait_until("the node to be ready", self._is_ready, seconds=READY_SECONDS)
        wait_until(
            "the kubelet's certificate", lambda: list(self.directory.glob("kubelet/pki/kubelet-server-current.pem"))
        )
        manifest = self.runtime("install", "--print-runtimeclass", "--node-selector", f"{LABEL}=true")
        self.platform.kubectl("apply", "-f", "-", stdin=manifest)
        self.platform.kubectl("label", "node", NODE, f"{LABEL}=true", f"kubernetes.io/hostname={NODE}")
        plain = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "container"}}
        self.platform.apply({**plain, "handler": "runc"})

    def _is_ready(self) -> bool:
        said = self.platform.kubectl(
            "get", "node", NODE, "--output", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}', check=False
        )
        return said.stdout == "True"

    def down(self) -> None:
        """Everything, whoever started it."""
        for name in [one for one in ("kubelet", "controllers", "server", "containerd") if one in self.running]:
            self.stop(name)
        self.remove()

    def remove(self) -> None:
        mine = (self.directory, self.run)
        for _ in range(20):
            kill(*told_of(*mine))
            kill(*(pid for one in hierarchies() for pid in pids_below(Path(f"{one}{self.group}"))))
            if not told_of(*mine):
                break
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self.bridge)
        for hierarchy in hierarchies():
            for group in sorted(Path(hierarchy).glob(f"{self.group[1:]}/**/"), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()


def hierarchies() -> list[Path]:
    """Where the cgroups are, in v1 by controller."""
    return [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines() if " cgroup" in line]


def pids_below(group: Path) -> list[int]:
    return [int(pid) for one in group.glob("**/cgroup.procs") for pid in one.read_text().split()]


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Theirs]:
    """Everything up; at the end everything down."""
    enter_private_mounts()
    assert newest_kubectl()
    theirs = Theirs(directory)
    with afterwards(sys.executable, "-m", __name__, directory, str(theirs.number)):
        try:
            theirs.up()
            yield theirs
        finally:
            theirs.down()


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    Theirs(Path(sys.argv[1]), int(sys.argv[2])).remove()
