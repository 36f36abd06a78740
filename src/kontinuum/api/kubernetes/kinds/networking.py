"""networking.k8s.io: Ingresses and their classes, network policies, and the addresses of Services."""

from __future__ import annotations

from typing import Any, ClassVar

from kontinuum.api.kubernetes.defaults.networking import default_ingress_class, default_network_policy
from kontinuum.api.kubernetes.kinds.kind import AGE, NAME, Column, Kind
from kontinuum.api.kubernetes.tables import NONE, row
from kontinuum.api.kubernetes.validation import identifiers
from kontinuum.api.kubernetes.validation import ingresses as ingress
from kontinuum.api.kubernetes.validation import networking as validation
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.selectors import from_object

SHOWN_HOSTS = 3


class Ingress(Kind):
    has_generation = True
    initial_status: ClassVar[Object] = {"loadBalancer": {}}
    columns = (
        NAME,
        Column("Class", description="The name of the IngressClass resource that should be used for additional "
               "configuration"),
        Column("Hosts", description="Hosts that incoming requests are matched against before the ingress rule"),
        Column("Address", description="Address is a list containing ingress points for the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE,
    )  # fmt: skip

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return ingress.validate_ingress(obj.get("spec") or {}) + ingress.validate_class_annotation(obj)

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return ingress.validate_ingress(obj.get("spec") or {})

    def validate_status(self, obj: Object, old: Object) -> list[FieldError]:
        return super().validate_status(obj, old) + ingress.validate_ingress_status(_points(obj))

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        addresses = sorted({one.get("ip") or one.get("hostname", "") for one in _points(obj)} - {""})
        return row(
            obj,
            now,
            spec.get("ingressClassName", NONE),
            _hosts(spec.get("rules") or []),
            ",".join(addresses),
            "80, 443" if spec.get("tls") else "80",
        )


class IngressClass(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_ingress_class(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_ingress_class(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        new, before = (obj.get("spec") or {}).get("controller"), (old.get("spec") or {}).get("controller")
        errors = [] if new == before else [fields.invalid("spec.controller", new, validation.IMMUTABLE)]
        return errors + self.validate_spec(obj)

    def cells(self, obj: Object, now: float) -> list[Any]:
        spec = obj.get("spec") or {}
        parameters = spec.get("parameters")
        shown = NONE
        if parameters is not None:
            group = parameters.get("apiGroup")
            kind = f"{parameters.get('kind', '')}.{group}" if group else parameters.get("kind", "")
            shown = f"{kind}/{parameters.get('name', '')}"
        return row(obj, now, spec.get("controller", ""), shown)


class NetworkPolicy(Kind):
    has_generation = True
    columns = (
        NAME,
        Column("Pod-Selector", description="Selects the pods to which this NetworkPolicy object applies."),
        AGE,
    )

    def default(self, obj: Object) -> None:
        default_network_policy(obj)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_network_policy(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        return validation.validate_network_policy(obj["spec"], old.get("spec") or {})

    def cells(self, obj: Object, now: float) -> list[Any]:
        selector = (obj.get("spec") or {}).get("podSelector") or {}
        return row(obj, now, str(from_object(selector)) or NONE)


class IPAddress(Kind):
    columns = (NAME, Column("ParentRef", description="The object that the address is given to."), AGE)

    def check_name(self, name: str) -> list[str]:
        return identifiers.canonical_ip(name)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_ip_address(obj.get("spec") or {})

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        new, before = (obj.get("spec") or {}).get("parentRef"), (old.get("spec") or {}).get("parentRef")
        return [] if new == before else [fields.invalid("spec.parentRef", new, validation.IMMUTABLE)]

    def cells(self, obj: Object, now: float) -> list[Any]:
        parent = (obj.get("spec") or {}).get("parentRef")
        if parent is None:
            return row(obj, now, NONE)
        group = parent.get("group")
        resource = f"{parent.get('resource', '')}.{group}" if group else parent.get("resource", "")
        parts = [resource.lower(), parent.get("namespace", ""), parent.get("name", "")]
        return row(obj, now, "/".join(part for part in parts if part))


class ServiceCIDR(Kind):
    columns = (NAME, Column("CIDRs", description="The ranges from which addresses are given to Services."), AGE)

    def validate_spec(self, obj: Object) -> list[FieldError]:
        return validation.validate_service_cidrs((obj.get("spec") or {}).get("cidrs") or [])

    def validate_update(self, obj: Object, old: Object) -> list[FieldError]:
        new, before = (obj.get("spec") or {}).get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
        return validation.validate_service_cidrs_change(new, before)

    def cells(self, obj: Object, now: float) -> list[Any]:
        return row(obj, now, ",".join((obj.get("spec") or {}).get("cidrs") or ()))


def _points(obj: Object) -> list[Object]:
    return list(((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ())


def _hosts(rules: list[Object]) -> str:
    hosts = [rule["host"] for rule in rules[:SHOWN_HOSTS] if rule.get("host")]
    if not hosts:
        return "*"
    more = len(rules) - SHOWN_HOSTS
    return f"{','.join(hosts)} + {more} more..." if more > 0 else ",".join(hosts)
