"""/healthz, /livez and /readyz: one word, or with ``?verbose`` one line per check, as Kubernetes prints them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp.web_response import Response

from kontinuum.api.machinery import status
from kontinuum.apiserver.context import Context
from kontinuum.store.port import StoreUnavailable

Check = Callable[[], Awaitable[str]]
"""Answers what is wrong, "" if nothing is."""
STORE_SECONDS = 2.0
"""How long a check waits for the store, which may be more patient; Kubernetes' ``--etcd-healthcheck-timeout``."""
ENDPOINTS = ("healthz", "livez", "readyz")


class Health:
    """``is_stopping`` makes /readyz fail, so that nobody sends new requests to a server that is about to end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.is_stopping = False
        live: dict[str, Check] = {"ping": _ping}
        ready: dict[str, Check] = {
            **live, "store": self._store, "informer-sync": self._caches, "shutdown": self._shutdown,
        }  # fmt: skip
        self._checks: Mapping[str, Mapping[str, Check]] = {
            "healthz": {**live, "store": self._store}, "livez": live, "readyz": ready,
        }  # fmt: skip

    async def answer(self, path: str, query: Mapping[str, str]) -> Response:
        """``/readyz``, ``/readyz/store``, ``?verbose``, ``?exclude=store``. Raises ApiError 404."""
        _, endpoint, *rest = path.rstrip("/").split("/")
        checks = self._checks[endpoint]
        if rest:
            if len(rest) > 1 or rest[0] not in checks:
                raise status.no_such_path()
            checks = {rest[0]: checks[rest[0]]}
        chosen = {name: check for name, check in checks.items() if name != query.get("exclude")}
        problems = {name: await check() for name, check in chosen.items()}
        failed = any(problems.values())
        if not failed and "verbose" not in query:
            return _text("ok", 200)
        lines = [f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in problems.items()]
        lines.append(f"{endpoint} check {'failed' if failed else 'passed'}")
        return _text("\n".join(lines) + "\n", 500 if failed else 200)

    async def _store(self) -> str:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._context.store.revision()
        except StoreUnavailable as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {STORE_SECONDS:g} s"
        return ""

    async def _caches(self) -> str:
        return "" if self._context.feed.is_filled else "the watch caches are not filled yet"

    async def _shutdown(self) -> str:
        return "the server is stopping" if self.is_stopping else ""


async def _ping() -> str:
    return ""


def _text(text: str, code: int) -> Response:
    headers = {"Cache-Control": "no-cache, private", "X-Content-Type-Options": "nosniff"}
    return Response(text=text, status=code, headers=headers)
