"""``portforward``: a client's connections to a pod's ports, through this server and the pod's node, to the runtime.

    kubectl before 1.30    ══SPDY/3.1══════════════════▶ API server ══the same══▶ node ══the same══▶ runtime
    kubectl since          ══SPDY/3.1 in a WebSocket═══▶ API server ══SPDY/3.1══▶ node ══▶ runtime          (KEP-4006)
    other clients          ══WebSocket channels════════▶ API server ══the same══▶ node ══▶ runtime

Only the tunnel is taken apart here; what is inside, and everything else, is bytes that are passed on.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl, urlencode

import orjson
from aiohttp import ClientResponse, WSMsgType
from aiohttp.web_response import StreamResponse
from aiohttp.web_ws import WebSocketResponse

from kontinuum.api.machinery import status
from kontinuum.apiserver.admission.requests import review_connect
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.forwarding import pass_back
from kontinuum.apiserver.streams import LARGEST_MESSAGE, ask_upgrade, node_place, offered, refusal, translated
from kontinuum.foundation.takeover import PIECE, Streams, upgraded
from kontinuum.foundation.tasks import cancel

TUNNEL = "SPDY/3.1+portforward.k8s.io"
PASSED = ("Upgrade", "X-Stream-Protocol-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key",
          "Sec-WebSocket-Version", "Sec-WebSocket-Extensions")  # fmt: skip
"""Headers that agree on what is spoken."""
CLOSED = 1000


async def port_forward(context: Context, served: Served, call: Call) -> StreamResponse:
    """Raises ApiError 400, 403, 404, 500, 503."""
    await review_connect(context, served, call)
    request = call.request
    upgrade = request.headers.get("Upgrade", "").lower()
    if upgrade not in ("websocket", "spdy/3.1"):
        raise status.bad_request("Upgrade request required")
    pod = orjson.loads((await context.current(served, call.route.namespace, call.route.name)).value)
    query = urlencode([("port", port) for port in ports_of(request.raw_path)])
    url = f"{await node_place(context, pod, call, 'portForward')}?{query}"
    is_tunnel = upgrade == "websocket" and TUNNEL in offered(request)
    headers = {name: value for name in PASSED if (value := request.headers.get(name))}
    if is_tunnel:
        headers = {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io"}
    with translated(url):
        answer = await ask_upgrade(context, "POST" if is_tunnel else request.method, url, headers.items())
    async with answer:
        if answer.status != 101:
            raise await refusal(answer)
        return await (_tunnel(answer, call) if is_tunnel else pass_back(answer, request, call.audit_id))


def ports_of(target: str) -> list[str]:
    """The ports that a request's target names: ``ports=80&ports=81`` or ``ports=80,81``. Raises ApiError 400."""
    found = []
    for key, value in parse_qsl(target.partition("?")[2]):
        for port in value.split(",") if key == "ports" else ():
            if not port.isdecimal():
                raise status.bad_request(f'strconv.ParseInt: parsing "{port}": invalid syntax')
            found.append(port)
    return found


async def _tunnel(answer: ClientResponse, call: Call) -> StreamResponse:
    """Carry the bytes between the client's WebSocket and the node's SPDY until either side ends."""
    socket = WebSocketResponse(protocols=[TUNNEL], compress=False, max_msg_size=LARGEST_MESSAGE)
    await socket.prepare(call.request)
    node = upgraded(answer)
    ways = [asyncio.create_task(_inwards(socket, node)), asyncio.create_task(_outwards(node, socket))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(*ways)
        node[1].close()
        answer.close()
        await socket.close(code=CLOSED)
    return socket


async def _inwards(socket: WebSocketResponse, node: Streams) -> None:
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            node[1].write(message.data)
            await node[1].drain()


async def _outwards(node: Streams, socket: WebSocketResponse) -> None:
    while piece := await node[0].read(PIECE):
        await socket.send_bytes(piece)
