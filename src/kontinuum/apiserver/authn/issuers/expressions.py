"""The expressions of an AuthenticationConfiguration: ``claims`` to texts, and rules about claims and users."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kontinuum.api.machinery.cel import CompileError, Environment, EvaluationFailed, Program, object_of, plain
from kontinuum.api.machinery.cel import types as t

CLAIMS, USER = "claims", "user"


@cache
def of_claims() -> Environment:
    return Environment({CLAIMS: t.map_of(t.STRING, t.DYN)})


@cache
def of_user() -> Environment:
    texts = plain(t.list_of(t.STRING))
    extra = plain(t.map_of(t.STRING, t.list_of(t.STRING)))
    text = plain(t.STRING)
    members = {"username": text, "uid": text, "groups": texts, "extra": extra}
    return Environment({USER: object_of("kubernetes.UserInfo", members)})


def compile_claims(source: str, *results: t.Type) -> Program:
    """Raises CompileError."""
    return of_claims().compile(source, *results)


def compile_user(source: str) -> Program:
    """Raises CompileError."""
    return of_user().compile(source, t.BOOL)


def text_of(program: Program, claims: Mapping[str, Any]) -> str:
    """Raises EvaluationFailed, or ValueError for a value that is no text."""
    found = program.evaluate({CLAIMS: claims})
    if not isinstance(found, str):
        raise ValueError("expression must return a string")
    return found


def texts_of(program: Program, claims: Mapping[str, Any]) -> list[str]:
    """A text, or a list of them; null and empty texts are none. Raises as ``text_of``."""
    found = program.evaluate({CLAIMS: claims})
    if found is None or found == "":
        return []
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("expression must return a string or a list of strings")
    return [one for one in found if one]


def holds(program: Program, values: Mapping[str, Any]) -> bool:
    """Raises EvaluationFailed."""
    return program.evaluate(values) is True


__all__ = ["CompileError", "EvaluationFailed", "compile_claims", "compile_user", "holds", "text_of", "texts_of"]
