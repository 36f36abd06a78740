"""What is wrong with an AuthenticationConfiguration, in Kubernetes' words (``apis/apiserver/validation``). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from cryptography import x509

from kontinuum.api.kubernetes.validation import names
from kontinuum.api.machinery import fields
from kontinuum.api.machinery.cel import types as t
from kontinuum.api.machinery.fields import FieldError
from kontinuum.apiserver.authn.issuers.configuration import (
    Anonymous,
    AuthenticationConfiguration,
    Claim,
    ClaimMappings,
    ClaimRule,
    Issuer,
    JwtIssuer,
    PrefixedClaim,
    UserRule,
)
from kontinuum.apiserver.authn.issuers.expressions import CompileError, compile_claims, compile_user

MOST_ISSUERS = 64
ONE, BOTH = "claim or expression is required", "claim and expression can't both be set"
EMAIL = re.compile(r"claims\s*(\.\??\s*email\b|\[\s*\??\s*['\"]email['\"]\s*\])")
VERIFIED = re.compile(r"\bemail_verified\b")


def validate(configuration: AuthenticationConfiguration, *, disallowed: Collection[str]) -> list[FieldError]:
    """``disallowed`` are issuers that nobody else may claim to be: the cluster's own."""
    errors: list[FieldError] = []
    if len(configuration.jwt) > MOST_ISSUERS:
        errors.append(fields.too_many("jwt", len(configuration.jwt), MOST_ISSUERS))
    urls: set[str] = set()
    for index, one in enumerate(configuration.jwt):
        path = f"jwt[{index}]"
        if one.issuer.url in urls:
            errors.append(fields.duplicate(f"{path}.issuer.url", one.issuer.url))
        urls.add(one.issuer.url)
        errors += _issuer(one.issuer, f"{path}.issuer", disallowed)
        for number, rule in enumerate(one.claim_validation_rules):
            errors += _claim_rule(rule, f"{path}.claimValidationRules[{number}]")
        errors += _mappings(one.claim_mappings, f"{path}.claimMappings")
        errors += _verified_email(one, f"{path}.claimMappings.username.expression")
        for number, user_rule in enumerate(one.user_validation_rules):
            errors += _user_rule(user_rule, f"{path}.userValidationRules[{number}]")
    return errors + (_anonymous(configuration.anonymous) if configuration.anonymous else [])


def _issuer(issuer: Issuer, path: str, disallowed: Collection[str]) -> list[FieldError]:
    errors = _url(issuer.url, f"{path}.url")
    if issuer.url in disallowed:
        listed = " ".join(sorted(disallowed))
        errors.append(
            fields.invalid(f"{path}.url", issuer.url, f"URL must not overlap with disallowed issuers: [{listed}]")
        )
    if issuer.discovery_url:
        errors += _url(issuer.discovery_url, f"{path}.discoveryURL")
        if issuer.discovery_url.rstrip("/") == issuer.url.rstrip("/"):
            problem = "discoveryURL must be different from URL"
            errors.append(fields.invalid(f"{path}.discoveryURL", issuer.discovery_url, problem))
    errors += _audiences(issuer, path)
    if issuer.certificate_authority and not _is_pem(issuer.certificate_authority):
        errors.append(
            fields.invalid(
                f"{path}.certificateAuthority", "<omitted>", "data does not contain any valid RSA or ECDSA certificates"
            )
        )
    return errors


def _url(url: str, path: str) -> list[FieldError]:
    if not url:
        return [fields.required(path, "URL is required")]
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return [fields.invalid(path, url, str(error))]
    wrong = {
        "URL scheme must be https": parts.scheme != "https" or not host,
        "URL must not contain a username or password": parts.username is not None,
        "URL must not contain a query": bool(parts.query),
        "URL must not contain a fragment": bool(parts.fragment),
    }
    return [fields.invalid(path, url, problem) for problem, is_so in wrong.items() if is_so]


def _audiences(issuer: Issuer, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not issuer.audiences:
        errors.append(fields.required(f"{path}.audiences", f"at least one {path}.audiences is required"))
    seen: set[str] = set()
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            errors.append(fields.required(f"{path}.audiences[{index}]", "audience can't be empty"))
        if audience in seen:
            errors.append(fields.duplicate(f"{path}.audiences[{index}]", audience))
        seen.add(audience)
    policy, where = issuer.audience_match_policy, f"{path}.audienceMatchPolicy"
    if len(issuer.audiences) > 1 and policy != "MatchAny":
        errors.append(fields.invalid(where, policy, "audienceMatchPolicy must be MatchAny for multiple audiences"))
    if len(issuer.audiences) == 1 and policy not in ("", "MatchAny"):
        problem = "audienceMatchPolicy must be empty or MatchAny for single audience"
        errors.append(fields.invalid(where, policy, problem))
    return errors


def _is_pem(text: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def _claim_rule(rule: ClaimRule, path: str) -> list[FieldError]:
    if rule.claim and rule.expression:
        return [fields.invalid(path, rule.claim, BOTH)]
    if not rule.claim and not rule.expression:
        return [fields.required(path, ONE)]
    if rule.claim:
        problem = "message can't be set when claim is set"
        return [fields.invalid(f"{path}.message", rule.message, problem)] if rule.message else []
    errors = _compiles(rule.expression, f"{path}.expression", t.BOOL)
    if rule.required_value:
        problem = "requiredValue can't be set when expression is set"
        errors.append(fields.invalid(f"{path}.requiredValue", rule.required_value, problem))
    return errors


def _mappings(mappings: ClaimMappings, path: str) -> list[FieldError]:
    errors = _prefixed(mappings.username, f"{path}.username", is_required=True)
    errors += _prefixed(mappings.groups, f"{path}.groups", is_required=False)
    errors += _claim(mappings.uid, f"{path}.uid")
    seen: set[str] = set()
    for index, extra in enumerate(mappings.extra):
        where = f"{path}.extra[{index}]"
        errors += _extra_key(extra.key, f"{where}.key")
        if extra.key in seen:
            errors.append(fields.duplicate(f"{where}.key", extra.key))
        seen.add(extra.key)
        if not extra.value_expression:
            errors.append(fields.required(f"{where}.valueExpression", "valueExpression is required"))
        else:
            errors += _compiles(extra.value_expression, f"{where}.valueExpression")
    return errors


def _prefixed(mapping: PrefixedClaim, path: str, *, is_required: bool) -> list[FieldError]:
    if mapping.claim and mapping.expression:
        return [fields.invalid(path, "", BOTH)]
    if not mapping.claim and not mapping.expression:
        if is_required:
            return [fields.required(path, ONE)]
        return [fields.invalid(path, "", "non-nil prefix can't be set when claim is not set")] if mapping.prefix else []
    if mapping.expression:
        errors = _compiles(mapping.expression, f"{path}.expression")
        if mapping.prefix is not None:
            errors.append(
                fields.invalid(f"{path}.prefix", mapping.prefix, "prefix can't be set when expression is set")
            )
        return errors
    problem = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
    return [fields.required(f"{path}.prefix", problem)] if mapping.prefix is None else []


def _claim(mapping: Claim, path: str) -> list[FieldError]:
    if mapping.claim and mapping.expression:
        return [fields.invalid(path, "", BOTH)]
    return _compiles(mapping.expression, f"{path}.expression") if mapping.expression else []


def _extra_key(key: str, path: str) -> list[FieldError]:
    if not key:
        return [fields.required(path, "key is required")]
    if key != key.lower():
        return [fields.invalid(path, key, "key must be lowercase")]
    domain, slash, rest = key.partition("/")
    if not slash or not rest or names.dns_subdomain(domain):
        return [fields.invalid(path, key, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    if any(domain == one or domain.endswith(f".{one}") for one in ("k8s.io", "kubernetes.io")):
        problem = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
        return [fields.invalid(path, key, problem)]
    return []


def _verified_email(one: JwtIssuer, path: str) -> list[FieldError]:
    """Whoever takes users by their mail address must look whether it is theirs."""
    mappings = one.claim_mappings
    if not EMAIL.search(mappings.username.expression):
        return []
    looked: Iterable[str] = (
        mappings.username.expression,
        *(extra.value_expression for extra in mappings.extra),
        *(rule.expression for rule in one.claim_validation_rules),
    )
    if any(VERIFIED.search(expression) for expression in looked):
        return []
    problem = (
        "claims.email_verified must be used in claimMappings.username.expression or "
        "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in "
        "claimMappings.username.expression"
    )
    return [fields.invalid(path, mappings.username.expression, problem)]


def _user_rule(rule: UserRule, path: str) -> list[FieldError]:
    if not rule.expression:
        return [fields.required(f"{path}.expression", "expression is required")]
    try:
        compile_user(rule.expression)
    except CompileError as error:
        return [_uncompiled(rule.expression, f"{path}.expression", error)]
    return []


def _compiles(source: str, path: str, *results: t.Type) -> list[FieldError]:
    try:
        compile_claims(source, *results)
    except CompileError as error:
        return [_uncompiled(source, path, error)]
    return []


def _uncompiled(source: str, path: str, error: CompileError) -> FieldError:
    return fields.invalid(path, source, f"compilation failed: {error}" if error.issues else str(error))


def _anonymous(anonymous: Anonymous) -> list[FieldError]:
    if anonymous.conditions and not anonymous.enabled:
        problem = "enabled should be set to true when conditions are defined"
        return [fields.invalid("anonymous.conditions", [one.path for one in anonymous.conditions], problem)]
    return [
        fields.required(f"anonymous.conditions[{index}].path")
        for index, one in enumerate(anonymous.conditions)
        if not one.path
    ]
