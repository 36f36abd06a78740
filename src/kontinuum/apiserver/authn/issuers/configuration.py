"""The file ``AuthenticationConfiguration`` (apiserver.config.k8s.io/v1, KEP-3331): its shape, and reading it.

apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: https://login.example.com, audiences: [kontinuum]}
  claimMappings:
    username: {claim: email, prefix: ""}
    groups: {expression: claims.roles.split(",")}
anonymous: {enabled: true, conditions: [{path: /livez}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from kontinuum.foundation.errors import Broken

VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1")
KIND = "AuthenticationConfiguration"


class BadConfiguration(Broken):
    """The file cannot be used; the message says where it is wrong."""


def _name(field: str) -> str:
    """``discovery_url`` as ``discoveryURL``."""
    first, *rest = field.split("_")
    return first + "".join("URL" if word == "url" else word.capitalize() for word in rest)


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_name, kw_only=True):
    """The names of fields are Kubernetes' own."""


class Issuer(_Shape, frozen=True):
    url: str = ""
    discovery_url: str = ""
    """Where its keys are described, if not below ``url``."""
    certificate_authority: str = ""
    """PEM; "" for the system's authorities."""
    audiences: tuple[str, ...] = ()
    audience_match_policy: str = ""
    egress_selector_type: str = ""
    """Accepted for Kubernetes' sake; there is one way out of here."""


class ClaimRule(_Shape, frozen=True):
    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


class PrefixedClaim(_Shape, frozen=True):
    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class Claim(_Shape, frozen=True):
    claim: str = ""
    expression: str = ""


class ExtraMapping(_Shape, frozen=True):
    key: str = ""
    value_expression: str = ""


class ClaimMappings(_Shape, frozen=True):
    username: PrefixedClaim = PrefixedClaim()
    groups: PrefixedClaim = PrefixedClaim()
    uid: Claim = Claim()
    extra: tuple[ExtraMapping, ...] = ()


class UserRule(_Shape, frozen=True):
    expression: str = ""
    message: str = ""


class JwtIssuer(_Shape, frozen=True):
    """One element of ``jwt``."""

    issuer: Issuer
    claim_validation_rules: tuple[ClaimRule, ...] = ()
    claim_mappings: ClaimMappings = ClaimMappings()
    user_validation_rules: tuple[UserRule, ...] = ()


class AnonymousCondition(_Shape, frozen=True):
    path: str


class Anonymous(_Shape, frozen=True):
    enabled: bool
    conditions: tuple[AnonymousCondition, ...] = ()


class AuthenticationConfiguration(_Shape, frozen=True):
    api_version: str
    kind: Literal["AuthenticationConfiguration"]
    jwt: tuple[JwtIssuer, ...] = ()
    anonymous: Anonymous | None = None


def parse(text: str) -> AuthenticationConfiguration:
    """Raises BadConfiguration for what is no such document; its rules ``validation`` looks at."""
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadConfiguration(f"it is no YAML: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("apiVersion") not in VERSIONS:
        raise BadConfiguration(f"expected apiVersion: {VERSIONS[0]}, kind: {KIND}")
    try:
        return msgspec.convert(document, AuthenticationConfiguration)
    except msgspec.ValidationError as error:
        raise BadConfiguration(str(error)) from error


def read(path: Path) -> str:
    """The file's text. Raises BadConfiguration."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"reading it: {error}") from error
