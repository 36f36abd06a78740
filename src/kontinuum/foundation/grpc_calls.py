"""The calls of a table (protobuf_table) on a gRPC channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import grpc

from kontinuum.foundation.protobuf_table import Call

Streams = Mapping[str, Literal["unary_stream", "stream_unary", "stream_stream"]]


def on_channel(channel: grpc.aio.Channel, calls: Mapping[str, Call], streams: Streams | None = None) -> dict[str, Any]:
    """What each call is made by, under the names of ``calls``; ``streams`` names those that are not one in, one out."""
    kinds = streams or {}
    return {
        name: getattr(channel, kinds.get(name, "unary_unary"))(
            call.path, request_serializer=call.request.SerializeToString, response_deserializer=call.response.FromString
        )
        for name, call in calls.items()
    }
