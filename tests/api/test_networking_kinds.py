"""networking.k8s.io and discovery.k8s.io: defaults, what is refused and in which words, what may change, tables."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.kinds import changed, made, problems, row

from kontinuum.api.kubernetes import resources as r

BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


def ingress(**spec: Any) -> dict[str, Any]:
    return {"spec": {"defaultBackend": BACKEND, **spec}}


def path(**one: Any) -> dict[str, Any]:
    whole = {"path": "/", "pathType": "Prefix", "backend": BACKEND, **one}
    whole = {field: value for field, value in whole.items() if value is not None}
    return ingress(rules=[{"host": "a.example.com", "http": {"paths": [whole]}}])


def policy(**spec: Any) -> dict[str, Any]:
    return {"spec": {"podSelector": {}, **spec}}


def block(cidr: str, *holes: str) -> dict[str, Any]:
    return policy(ingress=[{"from": [{"ipBlock": {"cidr": cidr, "except": list(holes)}}]}])


def endpoints(kind: str, *addresses: str, **more: Any) -> dict[str, Any]:
    return {"addressType": kind, "endpoints": [{"addresses": list(addresses)}], **more}


def test_good_objects_have_no_problems() -> None:
    assert problems(r.INGRESSES, path()) == []
    assert problems(r.INGRESSCLASSES, {"spec": {"controller": "example.com/ingress"}}) == []
    assert problems(r.NETWORKPOLICIES, block("10.0.0.0/8", "10.1.0.0/16")) == []
    assert problems(r.ENDPOINTSLICES, endpoints("IPv4", "10.1.2.3", ports=[{"port": 80}])) == []
    assert problems(r.SERVICECIDRS, {"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}}) == []
    address = {"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": {"resource": "services", "name": "a"}}}
    assert problems(r.IPADDRESSES, address) == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"spec": {}}, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (path(pathType=None), "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"),
        (path(pathType="Regex"), 'spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: '
         '"Exact", "ImplementationSpecific", "Prefix"'),
        (path(path="a"), 'spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path'),
        (path(path="/a//b"), 'spec.rules[0].http.paths[0].path: Invalid value: "/a//b": must not contain \'//\''),
        (path(path="/a/.."), 'spec.rules[0].http.paths[0].path: Invalid value: "/a/..": cannot end with \'/..\''),
        (path(backend={}), 'spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is '
         "required"),
        (ingress(defaultBackend={"service": {"name": "a", "port": {}}}),
         "spec.defaultBackend: Required value: port name or number is required"),
        (ingress(rules=[{"host": "10.0.0.1"}]),
         'spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'),
        (ingress(rules=[{"host": "*.*.com"}]),
         "spec.rules[0].host: Invalid value: \"*.*.com\": a wildcard DNS-1123 subdomain must start with '*.', followed "
         "by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with "
         "an alphanumeric character (e.g. '*.example.com', regex used for validation is "
         r"'\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"),
        ({"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}}, **ingress(ingressClassName="b")},
         'annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are '
         "specified"),
    ],
)  # fmt: skip
def test_a_bad_ingress_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.INGRESSES, obj) == [expected]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (policy(ingress=[{"from": [{}]}]), "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]),
         "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"),
        (block("10.0.0.0"), 'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR '
         "value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        (block("10.0.0.0/8", "11.0.0.0/16"), "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "
         '"11.0.0.0/16": must be a strict subset of `cidr`'),
        (block("10.0.0.0/8", "10.0.0.0/8"), "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "
         '"10.0.0.0/8": must be a strict subset of `cidr`'),
        (policy(egress=[{"ports": [{"port": 80, "endPort": 79}]}]),
         "spec.egress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`"),
        (policy(egress=[{"ports": [{"port": "http", "endPort": 79}]}]),
         "spec.egress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric"),
        (policy(policyTypes=["Both"]),
         'spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"'),
    ],
)  # fmt: skip
def test_a_bad_network_policy_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.NETWORKPOLICIES, obj) == [expected]


def test_a_network_policy_speaks_of_outgoing_traffic_if_it_has_rules_for_it() -> None:
    assert made(r.NETWORKPOLICIES, policy())["spec"]["policyTypes"] == ["Ingress"]
    both = made(r.NETWORKPOLICIES, policy(egress=[{"ports": [{"port": 53}]}]))["spec"]
    assert both["policyTypes"] == ["Ingress", "Egress"]
    assert both["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]


def test_what_was_once_a_good_address_block_may_stay() -> None:
    old = block("300.0.0.0/8")
    labelled = {**old, "metadata": {"labels": {"a": "b"}}}
    assert changed(r.NETWORKPOLICIES, labelled, old)[1] == []
    assert len(changed(r.NETWORKPOLICIES, block("301.0.0.0/8"), old)[1]) == 1


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"spec": {}}, "spec.controller: Required value"),
        ({"spec": {"controller": "a"}},
         'spec.controller: Invalid value: "a": must be a domain-prefixed path (such as "acme.io/foo")'),
        ({"spec": {"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}},
         "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
        ({"spec": {"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "namespace": "m"}}},
         "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"),
    ],
)  # fmt: skip
def test_a_bad_ingress_class_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.INGRESSCLASSES, obj) == [expected]


def test_an_ingress_class_keeps_its_controller() -> None:
    old, new = ({"spec": {"controller": f"example.com/{name}"}} for name in "ab")
    assert changed(r.INGRESSCLASSES, new, old)[1] == [
        'spec.controller: Invalid value: "example.com/b": field is immutable'
    ]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (endpoints("IP", "10.0.0.1"), 'addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"'),
        (endpoints("IPv4"), "endpoints[0].addresses: Required value: must contain at least 1 address"),
        (endpoints("IPv4", "127.0.0.1"), 'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the '
         "loopback range (127.0.0.0/8, ::1/128)"),
        (endpoints("IPv4", "2001:db8::1"), 'endpoints[0].addresses[0]: Invalid value: "2001:db8::1": must be an IPv4 '
         "address"),
        (endpoints("IPv6", "fe80::1"), 'endpoints[0].addresses[0]: Invalid value: "fe80::1": may not be in the '
         "link-local range (169.254.0.0/16, fe80::/10)"),
        (endpoints("IPv4", "10.0.0.1", ports=[{"name": "a"}, {"name": "a"}]), 'ports[1].name: Duplicate value: "a"'),
        (endpoints("FQDN", "local"), 'endpoints[0].addresses[0]: Invalid value: "local": should be a domain with at '
         "least two segments separated by dots"),
    ],
)  # fmt: skip
def test_a_bad_endpoint_slice_is_refused(obj: dict[str, Any], expected: str) -> None:
    assert problems(r.ENDPOINTSLICES, obj) == [expected]


def test_endpoint_slices_keep_their_type_and_count_changes_of_labels() -> None:
    old = endpoints("IPv4", "10.0.0.1")
    assert changed(r.ENDPOINTSLICES, endpoints("IPv6", "2001:db8::1"), old)[1] == [
        'addressType: Invalid value: "IPv6": field is immutable'
    ]
    labelled, _ = changed(r.ENDPOINTSLICES, {**old, "metadata": {"labels": {"a": "b"}}}, old)
    annotated, _ = changed(r.ENDPOINTSLICES, {**old, "metadata": {"annotations": {"a": "b"}}}, old)
    assert (labelled["metadata"]["generation"], annotated["metadata"]["generation"]) == (2, 1)


def test_service_ranges_stay_but_a_second_family_may_come() -> None:
    def ranges(*cidrs: str) -> dict[str, Any]:
        return {"spec": {"cidrs": list(cidrs)}}

    assert changed(r.SERVICECIDRS, ranges("10.0.0.0/24", "2001:db8::/64"), ranges("10.0.0.0/24"))[1] == []
    assert changed(r.SERVICECIDRS, ranges("10.0.1.0/24"), ranges("10.0.0.0/24"))[1] == [
        'spec.cidrs[0]: Invalid value: "10.0.1.0/24": field is immutable'
    ]
    assert problems(r.SERVICECIDRS, ranges("10.0.0.1/24")) == [
        'spec.cidrs[0]: Invalid value: "10.0.0.1/24": must be in canonical form ("10.0.0.0/24")'
    ]
    assert problems(r.SERVICECIDRS, ranges()) == ["spec.cidrs: Required value: at least one CIDR required"]


def test_an_ip_address_is_named_by_itself() -> None:
    spec = {"parentRef": {"resource": "services", "name": "a"}}
    found = problems(r.IPADDRESSES, {"metadata": {"name": "2001:DB8::1"}, "spec": spec})
    assert found == ['metadata.name: Invalid value: "2001:DB8::1": must be in canonical form ("2001:db8::1")']


def test_tables_read_as_in_kubernetes() -> None:
    rules = [{"host": f"{name}.example.com"} for name in "abcd"]
    shown = row(r.INGRESSES, ingress(rules=rules, tls=[{}], ingressClassName="nginx"),
                loadBalancer={"ingress": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}]})  # fmt: skip
    assert shown == {
        "Name": "x", "Class": "nginx", "Hosts": "a.example.com,b.example.com,c.example.com + 1 more...",
        "Address": "10.0.0.1,10.0.0.2", "Ports": "80, 443", "Age": "65s",
    }  # fmt: skip
    assert row(r.INGRESSES, ingress())["Hosts"] == "*"
    slice_ = endpoints("IPv4", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", ports=[{"port": 80}, {"name": "any"}])
    shown = row(r.ENDPOINTSLICES, slice_)
    assert (shown["Ports"], shown["Endpoints"]) == ("80,any", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...")
    assert row(r.ENDPOINTSLICES, {"addressType": "IPv4"})["Endpoints"] == "<unset>"
    assert row(r.NETWORKPOLICIES, policy(podSelector={"matchLabels": {"a": "b"}}))["Pod-Selector"] == "a=b"
    parent = {"resource": "services", "namespace": "n", "name": "a"}
    assert row(r.IPADDRESSES, {"spec": {"parentRef": parent}})["ParentRef"] == "services/n/a"
    parameters = {"apiGroup": "k8s.example.com", "kind": "Parameters", "name": "p"}
    shown = row(r.INGRESSCLASSES, {"spec": {"controller": "a.io/b", "parameters": parameters}})
    assert shown["Parameters"] == "Parameters.k8s.example.com/p"
