"""Every kind of sentence that we may say to the packet filter, for finding out what a host's kernel understands."""

from __future__ import annotations

from kontinuum.api.machinery.objects import Object
from kontinuum.node.policy import rules as policy
from kontinuum.node.policy.selection import Pod, World
from kontinuum.node.proxy.endpoints import Place
from kontinuum.node.proxy.rules import Networks, frame, service_fragment
from kontinuum.node.ruleset import NOTHING, Ruleset

NODE = "here"
NETWORKS = Networks(
    pods=("10.244.0.0/24", "fd00::/64"),
    cluster=("10.244.0.0/16", "fd00::/56"),
    services=("10.96.0.0/16", "fd01::/112"),
    closed=("10.244.0.1", "fd00::1"),
)
PODS = {"IPv4": "10.244.0.5", "IPv6": "fd00::5"}


def sample() -> str:
    """The commands for a table with one Service of everything in both families, and a policy for its pod."""
    ruleset = Ruleset("inet kontinuum_sample", frame(NETWORKS) | policy.frame())
    made = service_fragment(_service(), [_slice(family) for family in PODS], Place(NODE), NETWORKS, NOTHING)
    ruleset.put("service", made)
    ruleset.put("service without endpoints", service_fragment(_service("empty"), [], Place(NODE), NETWORKS, NOTHING))
    pod = Pod("ns", "one", {}, NODE, tuple(PODS.values()), {("web", "TCP"): 8080})
    world = World((pod,), {"ns": {}})
    ruleset.put("policies", policy.fragment([_policy()], world, node=NODE, networks=NETWORKS.pods))
    return ruleset.whole()


def _service(name: str = "web") -> Object:
    last = "7" if name == "web" else "8"
    ports = [
        {"name": protocol.lower(), "protocol": protocol, "port": int(f"8{last}"), "nodePort": int(f"3008{last}")}
        for protocol in ("TCP", "UDP", "SCTP")
    ]
    spec = {
        "type": "LoadBalancer",
        "clusterIP": f"10.96.0.{last}",
        "clusterIPs": [f"10.96.0.{last}", f"fd01::{last}"],
        "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP",
        "loadBalancerSourceRanges": ["198.51.100.0/24", "fd02::/64"],
        "ports": ports,
    }
    ingress = [{"ip": f"203.0.113.{last}"}, {"ip": f"fd03::{last}"}]
    return {
        "metadata": {"namespace": "ns", "name": name},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress}},
    }


def _slice(family: str) -> Object:
    ports = [{"name": protocol.lower(), "protocol": protocol, "port": 8080} for protocol in ("TCP", "UDP", "SCTP")]
    return {"addressType": family, "ports": ports, "endpoints": [{"addresses": [PODS[family]], "nodeName": NODE}]}


def _policy() -> Object:
    peers = [
        {"podSelector": {}},
        {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/28", "192.0.2.64/28"]}},
        {"ipBlock": {"cidr": "fd04::/64", "except": ["fd04::/96"]}},
    ]
    ports = [{"port": 80}, {"port": 81, "endPort": 90}, {"port": "web"}, {"protocol": "UDP"}]
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peers, "ports": ports}],
        "egress": [{"to": peers, "ports": ports}, {}],
    }
    return {"metadata": {"namespace": "ns", "name": "p"}, "spec": spec}
