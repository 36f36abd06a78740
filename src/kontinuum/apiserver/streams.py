"""What happens inside a pod is asked of its node: logs, exec and attach. The API server relays, and reads nothing.

    client ──GET .../log──────────▶ API server ──GET /containerLogs/...──▶ node
    client ◀═WebSocket frames═════▶ API server ◀═WebSocket frames════════▶ node     exec, attach
    client ◀═WebSocket frames═════▶ API server ◀═SPDY streams════════════▶ node     the same, from a kubelet

The WebSocket's subprotocol (``v5.channel.k8s.io``, say) is the one the node chooses among those that the client offers.
A node that speaks none of them is asked for SPDY.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode

import orjson
from aiohttp import ClientError, ClientResponse, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_ws import WebSocketResponse
from yarl import URL

from kontinuum.api.kubernetes.resources import NODES
from kontinuum.api.machinery import fields, status
from kontinuum.api.machinery.objects import Object, name_of
from kontinuum.api.machinery.status import ApiError, FieldError
from kontinuum.apiserver import replies, spdy
from kontinuum.apiserver.admission.requests import review_connect
from kontinuum.apiserver.call import Call, boolean
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.forwarding import SET_BY_US, Headers, pass_back
from kontinuum.apiserver.nodes import address_of
from kontinuum.apiserver.passing import pass_on
from kontinuum.foundation.channels import REFUSAL_HEADER, Wanted, bridge
from kontinuum.foundation.spdy_client import REMOTE_COMMAND, SpdyConnection
from kontinuum.foundation.takeover import upgraded
from kontinuum.foundation.tasks import cancel

LOG_OPTIONS = ("follow", "previous", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "limitBytes")
LOG_PROTOCOLS = ("binary.k8s.io", "base64.binary.k8s.io")
AS_TEXT = "base64.binary.k8s.io"
LARGEST_MESSAGE = 4 * 1024 * 1024
"""Bytes that a client may send in one WebSocket message, which is kept until it is whole; kubectl sends 32 KiB."""
NORMAL_CLOSE, GOING_AWAY = 1000, 1001
NO_PROTOCOL = 403
"""How a WebSocket's server refuses whoever offers no subprotocol that it speaks (Go's do)."""


async def log(context: Context, served: Served, call: Call) -> StreamResponse:
    """The text that a container has written. Raises ApiError 400, 404, 422, 500, 503."""
    query = log_query(call.query)
    pod = orjson.loads((await context.current(served, call.route.namespace, call.route.name)).value)
    url = f"{await _place(context, pod, call, 'containerLogs')}?{query}"
    with translated(url):
        async with context.nodes.session().get(url) as answer:
            if answer.status != 200:
                raise await refusal(answer)
            if call.request.headers.get("Upgrade", "").lower() == "websocket":
                return await _as_messages(answer, call.request)
            return await _copy(answer, call)


async def _as_messages(answer: ClientResponse, request: BaseRequest) -> StreamResponse:
    """A log for those who ask for it over a WebSocket: bytes, or base64 where the client chose that."""
    socket = WebSocketResponse(protocols=LOG_PROTOCOLS, compress=False)
    await socket.prepare(request)
    leaving = asyncio.create_task(socket.receive())
    try:
        with contextlib.suppress(ConnectionError):  # the client has gone; there is nobody to tell
            while not leaving.done():
                arriving = asyncio.create_task(answer.content.readany())
                await asyncio.wait({arriving, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not arriving.done():
                    await cancel(arriving)
                elif piece := arriving.result():
                    if socket.ws_protocol == AS_TEXT:
                        await socket.send_str(base64.b64encode(piece).decode())
                    else:
                        await socket.send_bytes(piece)
                else:
                    break
    finally:
        await cancel(leaving)
    await socket.close()
    return socket


async def connect(context: Context, served: Served, call: Call) -> StreamResponse:
    """Exec and attach, over a WebSocket or (kubectl before 1.31) SPDY. Raises ApiError 400, 404, 500, 503."""
    await review_connect(context, served, call)
    upgrade = call.request.headers.get("Upgrade", "").lower()
    if upgrade not in ("websocket", "spdy/3.1"):
        raise status.bad_request("Upgrade request required: exec and attach are spoken over a WebSocket")
    protocols = offered(call.request) if upgrade == "websocket" else [spdy.NODE_PROTOCOL]
    pod = orjson.loads((await context.current(served, call.route.namespace, call.route.name)).value)
    wanted = streams_of(call.query)
    url = f"{await _place(context, pod, call, call.route.subresource)}?{_stream_query(call.request, wanted)}"
    with translated(url):
        try:
            node = await context.nodes.session().ws_connect(url, protocols=protocols, max_msg_size=0)
        except WSServerHandshakeError as refused:
            if refused.status != NO_PROTOCOL:
                raise await _handshake_refusal(context, url, refused) from refused
            return await _by_spdy(context, url, call, wanted)
        async with node:
            if upgrade != "websocket":
                return await spdy.relay(call.request, node, stream_kinds(wanted))
            agreed = [node.protocol] if node.protocol else []
            client = WebSocketResponse(protocols=agreed, compress=False, max_msg_size=LARGEST_MESSAGE)
            await client.prepare(call.request)
            await _relay(client, node)
            return client


async def _by_spdy(context: Context, url: str, call: Call, wanted: Wanted) -> StreamResponse:
    """To a kubelet whose runtime has no WebSocket that says when input ends: containerd before 2.0 (KEP-4006)."""
    request = call.request
    is_spdy = request.headers.get("Upgrade", "").lower() == "spdy/3.1"
    spoken = request.headers.getall("X-Stream-Protocol-Version", []) if is_spdy else [REMOTE_COMMAND]
    async with await ask_upgrade(
        context, "POST", url, [("X-Stream-Protocol-Version", one) for one in spoken]
    ) as answer:
        if answer.status != 101:
            raise await refusal(answer)
        if is_spdy:
            return await pass_back(answer, request, call.audit_id)
        async with SpdyConnection(*upgraded(answer)) as node:
            return await bridge(request, node, wanted, largest=LARGEST_MESSAGE)


async def ask_upgrade(context: Context, method: str, url: str, headers: Iterable[tuple[str, str]]) -> ClientResponse:
    """What a node says when it is asked for another protocol: SPDY, unless ``headers`` say which."""
    sent = Headers([("Connection", "Upgrade"), *headers])
    sent.setdefault("Upgrade", "SPDY/3.1")
    return await context.nodes.session().request(
        method, URL(url, encoded=True), headers=sent, skip_auto_headers=SET_BY_US, allow_redirects=False
    )


def streams_of(query: Mapping[str, str]) -> Wanted:
    """What the client asks for. Raises ApiError 400 for what is neither true nor false."""
    stdin, stdout, stderr, tty = (boolean(query.get(one, ""), one) for one in ("stdin", "stdout", "stderr", "tty"))
    return Wanted(stdin, stdout, stderr and not tty, tty)


def stream_kinds(wanted: Wanted) -> list[str]:
    """The streams that a SPDY client is going to open. A terminal has one output, and a size."""
    asked = {"stdin": wanted.stdin, "stdout": wanted.stdout, "stderr": wanted.stderr, "resize": wanted.tty}
    return ["error", *sorted(kind for kind, is_asked in asked.items() if is_asked)]


def log_query(query: Mapping[str, str]) -> str:
    """The node's query for a log. Raises ApiError 422 for options that make no sense."""
    errors: list[FieldError] = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        text = query.get(name)
        if text is None or text == "":
            continue
        try:
            number = int(text)
        except ValueError:
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
        if number < least:
            errors.append(fields.invalid(name, number, f"must be greater than {'or equal to 0' if not least else '0'}"))
    if query.get("sinceSeconds") and query.get("sinceTime"):
        errors.append(fields.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if query.get("stream"):
        # As by a Kubernetes 1.36 without the alpha feature PodLogsQuerySplitStreams: whoever asks for one stream must
        # not be given both.
        errors.append(fields.forbidden("stream", "may not be specified"))
    if errors:
        raise status.invalid("PodLogOptions", "", errors)
    return urlencode({name: query[name] for name in LOG_OPTIONS if query.get(name)})


def container_of(pod: Object, wanted: str) -> str:
    """The container that is meant. Raises ApiError 400 if the pod has no such one, or several and none is named."""
    spec, name = pod.get("spec") or {}, name_of(pod)
    lists = [[one["name"] for one in spec.get(field) or ()] for field in
             ("containers", "initContainers", "ephemeralContainers")]  # fmt: skip
    containers, first, ephemeral = lists
    if wanted:
        if wanted not in containers + first + ephemeral:
            raise status.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(containers) == 1 and not first:
        return str(containers[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]"
    if first:
        text += f" or one of the init containers: [{' '.join(first)}]"
    raise status.bad_request(text)


async def _place(context: Context, pod: Object, call: Call, what: str) -> str:
    """The URL, without query, under which the pod's node does ``what``. Raises ApiError."""
    container = container_of(pod, call.query.get("container", ""))
    return f"{await node_place(context, pod, call, what)}/{quote(container)}"


async def node_place(context: Context, pod: Object, call: Call, what: str) -> str:
    """The same for what is done to the pod as a whole."""
    name, namespace = call.route.name, call.route.namespace
    node_name = (pod.get("spec") or {}).get("nodeName")
    if not node_name:
        raise status.bad_request(f"pod {name} does not have a host assigned")
    node = await context.find(NODES, "", node_name)
    if node is None:
        raise status.not_found(NODES, node_name)
    return f"{address_of(node)}/{what}/{quote(namespace)}/{quote(name)}"


def _stream_query(request: BaseRequest, wanted: Wanted) -> str:
    """The command, a word at a time, and the streams in the kubelet's words; the container has gone into the path."""
    _, _, text = request.raw_path.partition("?")
    command = [(key, value) for key, value in parse_qsl(text, keep_blank_values=True) if key == "command"]
    return urlencode([*command, *wanted.as_kubelet()])


def offered(request: BaseRequest) -> list[str]:
    """The subprotocols that a WebSocket's client would speak."""
    header = request.headers.get("Sec-WebSocket-Protocol", "")
    return [one.strip() for one in header.split(",") if one.strip()]


async def _copy(answer: ClientResponse, call: Call) -> StreamResponse:
    """Pass on what comes, as it comes, until either side ends."""
    response = StreamResponse(headers=replies.headers(call.audit_id, call.warnings, media="text/plain"))
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    await pass_on(answer, response, call.request)
    return response


async def _relay(client: WebSocketResponse, node: ClientWebSocketResponse) -> None:
    """Frames in both directions until one side closes; then the other is closed for the same reason."""
    to_node = asyncio.create_task(_forward(client, node))
    to_client = asyncio.create_task(_forward(node, client))
    try:
        done, _ = await asyncio.wait({to_node, to_client}, return_when=asyncio.FIRST_COMPLETED)
        code = next(iter(done)).result()
        # Closing ends the other direction's waiting by itself; cancelling it would lose the code.
        await node.close(code=code)
        await client.close(code=code)
    finally:
        await cancel(to_node, to_client)


Socket = WebSocketResponse | ClientWebSocketResponse


async def _forward(source: Socket, target: Socket) -> int:
    """Returns the code that ``source`` was closed with."""
    try:
        async for message in source:
            if message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
    except (ConnectionError, ClientError):
        return GOING_AWAY
    # 1005 and 1006 mean "no code was sent"; they may be told but never sent on (RFC 6455, 7.4.1).
    code = source.close_code or NORMAL_CLOSE
    return NORMAL_CLOSE if code == 1005 else GOING_AWAY if code == 1006 else int(code)


async def _handshake_refusal(context: Context, url: str, refused: WSServerHandshakeError) -> ApiError:
    """A refused handshake comes without its text: our nodes say why in a header, a kubelet is asked once more."""
    code = refused.status
    if refused.headers is not None and (why := refused.headers.get(REFUSAL_HEADER)):
        return _error(code, unquote(why))
    async with context.nodes.session().get(url) as answer:
        return _error(code, (await answer.text()).strip() if answer.status == code else "")


async def refusal(answer: ClientResponse) -> ApiError:
    """What the node objects, in the API's form."""
    return _error(answer.status, (await answer.text()).strip())


def _error(code: int, text: str) -> ApiError:
    if code == 400:
        return status.bad_request(text)
    if code == 404:
        return ApiError(404, "NotFound", text)
    if code == 503:
        return status.service_unavailable(text)
    return status.internal_error(text or f"the node answered {code}")


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """A node that cannot be reached is the API's 500 with the reason, as in Kubernetes ("error dialing backend")."""
    try:
        yield
    except (ClientError, OSError, TimeoutError) as error:
        host = url.split("/", 3)[2]
        raise status.internal_error(f"error dialing backend: {host}: {error or type(error).__name__}") from error
