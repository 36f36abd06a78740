"""What is wrong with how a pod looks up names: its resolver, and the names that it is given by hand."""

from __future__ import annotations

from collections.abc import Sequence

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.fields import FieldError
from kontinuum.api.machinery.objects import Object

MOST_SERVERS, MOST_PATHS, LONGEST_PATHS = 3, 32, 2048
"""What resolvers in use can take (kubernetes ``validateDNSPodSpec``)."""
LONGEST_HOST_NAME = 64
"""What Linux can take."""


def validate_pod_names(spec: Object, path: str) -> list[FieldError]:
    """``dnsConfig`` and ``hostAliases`` of a pod's ``spec``."""
    errors = _resolver(spec, f"{path}.dnsConfig") + _own_name(spec, f"{path}.hostnameOverride")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        here = f"{path}.hostAliases[{index}]"
        errors += [
            fields.invalid(f"{here}.ip", alias.get("ip"), one) for one in names.ip_address(alias.get("ip") or "")
        ]
        for number, name in enumerate(alias.get("hostnames") or ()):
            where = f"{here}.hostnames[{number}]"
            errors += [fields.invalid(where, name, problem) for problem in names.dns_subdomain(name)]
    return errors


def _own_name(spec: Object, path: str) -> list[FieldError]:
    """``hostnameOverride`` (KEP-4762): the kernel's name, of which the cluster's DNS knows nothing."""
    name = spec.get("hostnameOverride")
    if not name:
        return []
    errors = [fields.invalid(path, name, problem) for problem in names.dns_subdomain(name)]
    if len(name) > LONGEST_HOST_NAME:
        errors.append(fields.too_long(path, LONGEST_HOST_NAME))
    if spec.get("setHostnameAsFQDN"):
        errors.append(fields.forbidden(path, "may not be set when `setHostnameAsFQDN` is true"))
    if spec.get("hostNetwork"):
        errors.append(fields.forbidden(path, "may not be set when `hostNetwork` is true"))
    return errors


def _resolver(spec: Object, path: str) -> list[FieldError]:
    config, is_alone = spec.get("dnsConfig"), spec.get("dnsPolicy") == "None"
    if config is None:
        problem = "must provide `dnsConfig` when `dnsPolicy` is None"
        return [fields.required(path, problem)] if is_alone else []
    servers: Sequence[str] = config.get("nameservers") or []
    errors = []
    if is_alone and not servers:
        problem = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(fields.required(f"{path}.nameservers", problem))
    if len(servers) > MOST_SERVERS:
        problem = f"must not have more than {MOST_SERVERS} nameservers"
        errors.append(fields.invalid(f"{path}.nameservers", servers, problem))
    for index, server in enumerate(servers):
        errors += [fields.invalid(f"{path}.nameservers[{index}]", server, one) for one in names.ip_address(server)]
    errors += _search(config.get("searches") or [], f"{path}.searches")
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(fields.required(f"{path}.options[{index}]", "must not be empty"))
    return errors


def _search(paths: Sequence[str], path: str) -> list[FieldError]:
    errors = []
    if len(paths) > MOST_PATHS:
        errors.append(fields.invalid(path, paths, f"must not have more than {MOST_PATHS} search paths"))
    if len(" ".join(paths)) > LONGEST_PATHS:
        problem = f"must not have more than {LONGEST_PATHS} characters (including spaces) in the search list"
        errors.append(fields.invalid(path, paths, problem))
    for index, one in enumerate(paths):
        plain = one.removesuffix(".")
        # "." is the root; a leading underscore names a service.
        labels = [label.removeprefix("_") for label in plain.split(".")]
        if one != "." and any(names.dns_label(label) for label in labels):
            found = names.dns_subdomain(plain) or ["must be a DNS name"]
            errors += [fields.invalid(f"{path}[{index}]", one, problem) for problem in found]
    return errors
