"""From verified claims to a user, as one issuer's mappings and rules say. Pure but for the compiled expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kontinuum.api.machinery.cel import EvaluationFailed, Program
from kontinuum.api.machinery.cel import types as t
from kontinuum.apiserver.authn.issuers.configuration import Claim, JwtIssuer, PrefixedClaim
from kontinuum.apiserver.authn.issuers.expressions import (
    CLAIMS,
    USER,
    compile_claims,
    compile_user,
    holds,
    text_of,
    texts_of,
)
from kontinuum.apiserver.authn.port import BadCredential
from kontinuum.apiserver.authn.users import User, authenticated

Claims = Mapping[str, Any]
EMAIL, EMAIL_VERIFIED = "email", "email_verified"


@dataclass(frozen=True, slots=True)
class _Rule:
    program: Program
    message: str


class UserMapping:
    """Compiled once for each issuer. Raises CompileError, which ``validation`` has excluded."""

    def __init__(self, configured: JwtIssuer) -> None:
        mappings = configured.claim_mappings
        self._username, self._groups, self._uid = mappings.username, mappings.groups, mappings.uid
        self._programs = {
            one.expression: compile_claims(one.expression)
            for one in (mappings.username, mappings.groups, mappings.uid)
            if one.expression
        }
        self._extra = [(one.key, compile_claims(one.value_expression)) for one in mappings.extra]
        rules = configured.claim_validation_rules
        self._required = {rule.claim: rule.required_value for rule in rules if rule.claim}
        self._claim_rules = [
            _Rule(compile_claims(rule.expression, t.BOOL), rule.message) for rule in rules if rule.expression
        ]
        self._user_rules = [
            _Rule(compile_user(rule.expression), rule.message) for rule in configured.user_validation_rules
        ]

    def user_of(self, claims: Claims) -> User:
        """Raises BadCredential if the claims do not say who it is, or a rule does not hold."""
        name = self._name(claims)
        groups = self._group_names(claims)
        self._check_claims(claims)
        user = authenticated(name, groups, self._text(self._uid, claims, "uid"), self._extras(claims))
        self._check_user(User(name, tuple(groups), user.uid, user.extra))
        return user

    def _name(self, claims: Claims) -> str:
        mapping = self._username
        if mapping.expression:
            name = self._text(mapping, claims, "username")
            if not name:
                raise BadCredential("oidc: empty username via CEL expression is not allowed")
            return name
        name = _claimed(claims, mapping.claim, "username")
        if mapping.claim == EMAIL and EMAIL_VERIFIED in claims and claims[EMAIL_VERIFIED] is not True:
            raise BadCredential("oidc: email not verified")
        return f"{mapping.prefix or ''}{name}"

    def _text(self, mapping: PrefixedClaim | Claim, claims: Claims, what: str) -> str:
        if not mapping.expression:
            return _claimed(claims, mapping.claim, what) if mapping.claim else ""
        try:
            return text_of(self._programs[mapping.expression], claims)
        except (EvaluationFailed, ValueError) as error:
            raise BadCredential(f"oidc: error evaluating {what} claim expression: {error}") from error

    def _group_names(self, claims: Claims) -> list[str]:
        mapping = self._groups
        if mapping.expression:
            try:
                return texts_of(self._programs[mapping.expression], claims)
            except (EvaluationFailed, ValueError) as error:
                raise BadCredential(f"oidc: error evaluating group claim expression: {error}") from error
        found = claims.get(mapping.claim) if mapping.claim else None
        if found is None:
            return []
        # Some providers send one group as a plain text.
        listed = [found] if isinstance(found, str) else found
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise BadCredential(f'oidc: parse groups claim "{mapping.claim}": expected a string or a list of strings')
        return [f"{mapping.prefix or ''}{one}" for one in listed]

    def _extras(self, claims: Claims) -> dict[str, tuple[str, ...]]:
        found = {}
        for key, program in self._extra:
            try:
                values = texts_of(program, claims)
            except (EvaluationFailed, ValueError) as error:
                raise BadCredential(f"oidc: error evaluating extra claim expression: {error}") from error
            if values:
                found[key] = tuple(values)
        return found

    def _check_claims(self, claims: Claims) -> None:
        for claim, wanted in self._required.items():
            if claim not in claims:
                raise BadCredential(f"oidc: required claim {claim} not present in ID token")
            if claims[claim] != wanted:
                problem = f"Got = {claims[claim]}, want = {wanted}"
                raise BadCredential(f"oidc: required claim {claim} value does not match. {problem}")
        for rule in self._claim_rules:
            _check(rule, {CLAIMS: claims}, "claim")

    def _check_user(self, user: User) -> None:
        """The user as the token says: groups that everybody is in are added afterwards."""
        # Every field is there, so that rules need not ask whether it is.
        info = {
            "username": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
        }
        for rule in self._user_rules:
            _check(rule, {USER: info}, "user info")


def _check(rule: _Rule, values: Mapping[str, Any], what: str) -> None:
    try:
        if holds(rule.program, values):
            return
    except EvaluationFailed as error:
        raise BadCredential(f"oidc: error evaluating {what} validation expression: {error}") from error
    told = f": {rule.message}" if rule.message else ""
    raise BadCredential(
        f"oidc: error evaluating {what} validation expression: "
        f"validation expression '{rule.program.source}' failed{told}"
    )


def _claimed(claims: Claims, claim: str, what: str) -> str:
    if claim not in claims:
        raise BadCredential(f'oidc: parse {what} claims "{claim}": claim not present')
    found = claims[claim]
    if not isinstance(found, str):
        raise BadCredential(f'oidc: parse {what} claims "{claim}": expected a string')
    return found
