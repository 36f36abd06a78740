"""The shim's wires: protobuf, ttrpc frames, and the words of the client."""

from __future__ import annotations

import mmap
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.foundation.process import ProgramFailed
from kontinuum.runtime import codec, launch, messages
from kontinuum.runtime.task import errors
from kontinuum.runtime.ttrpc import LONGEST_MESSAGE, REQUEST, Frame, FrameBuffer, ProtocolBroken

CONTAINERD = shutil.which("containerd")
MESSAGES = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
]
SPOKEN_IN = {
    "containerd.task.v2": (
        "CreateTaskRequest CreateTaskResponse StartRequest StartResponse StateRequest StateResponse WaitRequest "
        "WaitResponse DeleteRequest DeleteResponse ExecProcessRequest KillRequest ResizePtyRequest CloseIORequest "
        "PidsRequest PidsResponse UpdateTaskRequest StatsRequest StatsResponse ConnectRequest ConnectResponse "
        "ShutdownRequest"
    ),
    "containerd.v1.types": "ProcessInfo",
    "containerd.types": "Mount",
    "containerd.events": "TaskIO TaskCreate TaskStart TaskDelete TaskExit TaskOOM TaskExecAdded TaskExecStarted",
    "containerd.services.events.ttrpc.v1": "Envelope ForwardRequest",
    "io.containerd.cgroups.v1": "Metrics PidsStat CPUUsage CPUStat MemoryEntry MemoryStat",
    "google.rpc": "Status",
    "runtimeoptions.v1": "Options",
}
"""Which of our messages containerd's binary describes, by package."""


def values(field: codec.Field) -> st.SearchStrategy[object]:
    one: st.SearchStrategy[object]
    if field.kind is str:
        one = st.text(max_size=20)
    elif field.kind is bytes:
        one = st.binary(max_size=20)
    elif field.kind is bool:
        one = st.booleans()
    elif field.kind is int:
        one = st.integers(min_value=0, max_value=(1 << 64) - 1)
    else:
        one = messages_of(field.kind)
    return st.lists(one, max_size=3).map(tuple) if field.repeated else one


def messages_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    return st.builds(kind, **{field.name: values(field) for field in codec.fields(kind)})


@given(st.sampled_from(MESSAGES).flatmap(messages_of))
def test_every_message_comes_back_as_it_was(message: msgspec.Struct) -> None:
    assert codec.decode(type(message), codec.encode(message)) == message


@given(st.sampled_from(MESSAGES), st.binary(max_size=200))
def test_garbage_is_refused_or_read_but_never_breaks_the_decoder(kind: type[msgspec.Struct], data: bytes) -> None:
    try:
        codec.decode(kind, data)
    except codec.Malformed as error:
        assert str(error)


def test_fields_of_a_newer_containerd_are_skipped() -> None:
    newer = codec.encode(messages.TaskIO("in", "out", "err", True))
    assert codec.decode(messages.StartRequest, newer) == messages.StartRequest("in", "out")


@given(st.lists(st.builds(Frame, st.integers(0, 1 << 31), st.just(REQUEST), st.binary(max_size=50))), st.data())
def test_frames_survive_any_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    buffer, seen = FrameBuffer(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        seen += list(buffer.feed(stream[:cut]))
        stream = stream[cut:]
    assert seen == frames


def test_a_frame_longer_than_the_protocol_allows_is_refused() -> None:
    header = (LONGEST_MESSAGE + 1).to_bytes(4, "big") + bytes(6)
    with pytest.raises(ProtocolBroken):
        list(FrameBuffer().feed(header))


def descriptors(program: Path) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """The gzipped descriptions of its messages that a Go program carries."""
    with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        for found in re.finditer(re.escape(bytes.fromhex("1f8b080000000000")), image):
            try:
                text = zlib.decompressobj(31).decompress(image[found.start() : found.start() + 400_000])
                yield descriptor_pb2.FileDescriptorProto.FromString(text)
            except (zlib.error, DecodeError):
                continue


@pytest.mark.machine
def test_names_and_numbers_are_those_of_the_installed_containerd() -> None:
    assert CONTAINERD is not None, "containerd is not installed"
    theirs = {
        (file.package, message.name): {field.name: field.number for field in message.field}
        for file in descriptors(Path(CONTAINERD))
        for message in file.message_type
    }
    for package, names in SPOKEN_IN.items():
        for name in names.split():
            ours = {field.name: field.number for field in codec.fields(getattr(messages, name))}
            assert ours.items() <= theirs[package, name].items(), f"{package}.{name}"


@given(
    arguments=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    directory=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    data=st.binary(),
)
def test_the_clients_words_are_read_as_it_wrote_them(arguments: list[str], directory: str, data: bytes) -> None:
    words = [str(len(arguments)), *arguments, directory, "1", "TTRPC_ADDRESS=/x=y"]
    sent = b"".join(word.encode() + b"\0" for word in words) + data
    read = launch.read_request(sent)
    assert read == launch.Request(tuple(arguments), directory, {"TTRPC_ADDRESS": "/x=y"}, data)


def test_containerds_command_line_is_understood() -> None:
    options = messages.Any("runtimeoptions.v1.Options", codec.encode(messages.Options("x", "/etc/runtime.json")))
    line = "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id abc -debug start"
    request = launch.Request(tuple(line.split()), "/bundle", {"TTRPC_ADDRESS": "/e.sock"}, codec.encode(options))
    assert launch.understand(request) == launch.Launch(
        "start", "k8s.io", "abc", Path("/bundle"), Path("/e.sock"), Path("/etc/runtime.json")
    )
    line = "-namespace=k8s.io -id=abc -bundle /other delete"
    deleting = launch.understand(launch.Request(tuple(line.split()), "/bundle", {}, b""))
    assert (deleting.action, deleting.bundle, deleting.config) == ("delete", Path("/other"), None)


@pytest.mark.parametrize("line", ["", "start", "-id x -namespace y", "-id x -namespace y stop", "-id x start"])
def test_a_command_line_that_is_not_containerds_is_refused(line: str) -> None:
    with pytest.raises(launch.LaunchRefused):
        launch.understand(launch.Request(tuple(line.split()), "/bundle", {}, b""))


@pytest.mark.parametrize("data", [b"", b"1", b"2\0one\0", b"x\0"])
def test_a_request_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(launch.LaunchRefused):
        launch.read_request(data)


def test_nothing_that_goes_wrong_here_is_told_as_if_containerd_were_away() -> None:
    failed = errors.as_call_failed(ProgramFailed(["mkfs.erofs"], 1, "No space left on device"))
    assert failed.code == errors.UNKNOWN
    assert "No space left on device" in str(failed)
