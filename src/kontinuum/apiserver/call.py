"""One request as the verbs see it."""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp.web_request import BaseRequest
from msgspec import Struct

from kontinuum.api.machinery import status
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.fairness.level import Seat
from kontinuum.apiserver.negotiation import Output
from kontinuum.apiserver.routes import Route

TRUE = frozenset({"true", "1", "t", "T", "TRUE", "True"})
FALSE = frozenset({"", "false", "0", "f", "F", "FALSE", "False"})
LARGEST = 2**63 - 1
READ_BY_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
"""User agents that get JSON with line breaks unless they say otherwise, as from Kubernetes."""


class Call(Struct):
    """``query`` keeps the first value of each key; ``warnings`` become Warning headers of the reply."""

    request: BaseRequest
    path: str
    query: dict[str, str]
    audit_id: str
    user: User
    route: Route
    verb: str
    output: Output
    seat: Seat | None = None
    """What the call holds of the server while it is answered; a watch gives it back when it only waits."""
    warnings: list[str] = []
    annotations: dict[str, str] = {}
    """What admission adds to the audit event of the call."""

    @property
    def is_pretty(self) -> bool:
        """JSON is to be indented, for people."""
        asked = self.query.get("pretty", "")
        return asked in TRUE if asked else self.request.headers.get("User-Agent", "").startswith(READ_BY_PEOPLE)

    def flag(self, name: str) -> bool:
        """A boolean of the query. Raises ApiError 400."""
        return boolean(self.query.get(name, ""), name)

    def number(self, name: str) -> int:
        """A whole number of the query, 0 if it is absent. Raises ApiError 400."""
        text = self.query.get(name, "")
        if not text:
            return 0
        try:
            number = int(text)
        except ValueError:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax (parameter {name})') from None
        if not -LARGEST <= number <= LARGEST:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": value out of range (parameter {name})')
        return number


def boolean(text: str, name: str) -> bool:
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise status.bad_request(f'strconv.ParseBool: parsing "{text}": invalid syntax (parameter {name})')


def split_target(target: str) -> tuple[str, dict[str, str]]:
    """The path and the query of a request's target."""
    path, _, text = target.partition("?")
    if not text:
        return path, {}
    query: dict[str, str] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        query.setdefault(key, value)
    return path, query
