"""Asking an extension server what it serves, in the name of ``system:kube-aggregator``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from aiohttp import ClientError, ClientTimeout
from yarl import URL

from kontinuum.apiserver import bounded
from kontinuum.apiserver.aggregation.extensions import Extension
from kontinuum.apiserver.aggregation.specifications import readable, to_v3
from kontinuum.apiserver.aggregation.told import Told
from kontinuum.apiserver.aggregation.transport import NoTransport, Transport, place_of, user_headers
from kontinuum.apiserver.authn.users import User
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.services.resolver import Unresolved
from kontinuum.foundation.errors import Retryable

AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
SECONDS = 5.0
TRIES = 3
"""One of several endpoints may be ill; each try may meet another."""
LARGEST_ANSWER = 32 * 1024 * 1024
"""Bytes. Kubernetes' own OpenAPI document of version 2 has 5 MB."""
JSON = "application/json"


class Unanswered(Retryable):
    """The server was not reached, or its answer is no answer. The text is for the condition."""


class Inquiry:
    """See the module."""

    def __init__(self, context: Context, transport: Transport) -> None:
        self._context = context
        self._transport = transport

    async def resources(self, extension: Extension) -> list[Any]:
        """The APIResources of the group version. Raises Unanswered after some tries."""
        problem = ""
        for _ in range(TRIES):
            try:
                _, content, _ = await self._get(extension, extension.path)
                found = orjson.loads(content)
                resources = found.get("resources") if isinstance(found, dict) else None
                return [one for one in resources or () if isinstance(one, dict)]
            except (Unanswered, orjson.JSONDecodeError) as error:
                problem = str(error)
        raise Unanswered(problem)

    async def documents(self, extension: Extension, told: Told) -> Told:
        """``told`` with OpenAPI as it is now; what cannot be had stays as it was."""
        made = replace(told)
        v2 = await self._document(extension, "/openapi/v2", told.openapi_v2_etag)
        part = readable(v2[0], extension.group, extension.version) if v2 is not None else None
        if v2 is not None and part is not None:
            made.openapi_v2, made.openapi_v2_etag = part, v2[1]
        v3 = await self._document(extension, f"/openapi/v3{extension.path}", told.openapi_v3_etag)
        if v3 is not None:
            made.openapi_v3, made.openapi_v3_etag = v3
        elif part is not None and not made.openapi_v3_etag:
            # The server does not know version 3, or has told it without a mark by which it would be kept.
            made.openapi_v3 = orjson.dumps(to_v3(part))
        return made

    async def _document(self, extension: Extension, path: str, etag: str) -> tuple[bytes, str] | None:
        """The document and its ETag; None if it has not changed, or cannot be had."""
        try:
            code, content, new = await self._get(extension, path, etag)
            if code == 304 or not isinstance(orjson.loads(content), dict):
                return None
        except (Unanswered, orjson.JSONDecodeError):
            return None
        return content, new

    async def _get(self, extension: Extension, path: str, etag: str = "") -> tuple[int, bytes, str]:
        """Code, body and ETag. Raises Unanswered."""
        try:
            place = await place_of(self._context, extension)
            tls = self._transport.tls(extension)
        except (Unresolved, NoTransport) as error:
            raise Unanswered(str(error)) from error
        url = f"https://{place}{path}"
        headers = [*user_headers(AGGREGATOR), ("Accept", JSON), ("Host", extension.server_name)]
        if etag:
            headers.append(("If-None-Match", etag))
        try:
            async with self._transport.session().get(
                URL(url, encoded=True),
                headers=headers,
                ssl=tls,
                server_hostname=extension.server_name,
                timeout=ClientTimeout(total=SECONDS),
                allow_redirects=False,
            ) as answer:
                if not (200 <= answer.status < 300 or (answer.status == 304 and etag)):
                    raise Unanswered(_failing(url, f"bad status from {url}: {answer.status}"))
                content = await bounded.read(answer.content, LARGEST_ANSWER)
                return answer.status, content, answer.headers.get("ETag", "")
        except TimeoutError:
            raise Unanswered(f"timed out waiting for {url}") from None
        except bounded.TooLong as error:
            raise Unanswered(_failing(url, str(error))) from error
        except (ClientError, OSError) as error:
            raise Unanswered(_failing(url, f'Get "{url}": {error or type(error).__name__}')) from error


def _failing(url: str, problem: str) -> str:
    return f"failing or missing response from {url}: {problem}"
