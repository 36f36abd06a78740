"""The gRPC health checking protocol (``grpc.health.v1.Health/Check``), as much of it as a probe needs."""

from __future__ import annotations

import asyncio

import grpc

from kontinuum.foundation.errors import Retryable

METHOD = "/grpc.health.v1.Health/Check"
STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
SERVING = 1


class Unhealthy(Retryable):
    """The server does not say that it serves; the message is the kubelet's."""


async def check(host: str, port: int, service: str, timeout: float, user_agent: str) -> None:
    """Ask once. ``service`` "" means the server as a whole. Raises Unhealthy."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    options = [("grpc.primary_user_agent", user_agent), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        try:
            async with asyncio.timeout(timeout):
                await channel.channel_ready()
        except TimeoutError as error:
            raise Unhealthy(f'timeout: failed to connect service "{address}" within {timeout:g}s') from error
        call = channel.unary_unary(METHOD, request_serializer=_request, response_deserializer=_status)
        try:
            status = await call(service, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise Unhealthy(_explained(error, timeout)) from error
    if status != SERVING:
        raise Unhealthy(f'service unhealthy (responded with "{STATUSES.get(status, status)}")')


def _explained(error: grpc.aio.AioRpcError, timeout: float) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"error: this server does not implement the grpc health protocol ({METHOD[1:-6]}): {error.details()}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"timeout: health rpc did not complete within {timeout:g}s"
    return f"error: health rpc probe failed: {error.details()}"


def _request(service: str) -> bytes:
    """HealthCheckRequest: one string, field 1."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _status(answer: bytes) -> int:
    """HealthCheckResponse: one enum, field 1; nothing at all is the zero value."""
    return answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
