"""What a machine has inside that only pretends: an agent that says who it is, and refuses everything else."""

from __future__ import annotations

import asyncio
import errno

from kontinuum.runtime.guest import protocol
from kontinuum.runtime.guest.protocol import Frame, Kind, Splitter, Writer

_READ = 64 << 10


def answer(asked: Frame) -> Frame:
    """HELLO's answer is a real one; its memory and kernel are made up."""
    if asked.kind == Kind.HELLO:
        return Frame(Kind.OK, asked.id, Writer().u32(protocol.VERSION).u64(1 << 27).text("pretended").done())
    return Frame(Kind.REFUSED, asked.id, Writer().u32(errno.ENOSYS).text("there is no machine here").done())


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer until the caller hangs up or says something that means nothing."""
    splitter = Splitter()
    try:
        while data := await reader.read(_READ):
            for frame in splitter.feed(data):
                writer.write(protocol.encode(answer(frame)))
    except (OSError, protocol.ProtocolBroken):
        pass
    finally:
        writer.transport.abort()
