"""Starts the parts of the platform as child processes that never outlive their supervisor."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kontinuum.cli.keeper import Part
from kontinuum.cli.logs import open_log
from kontinuum.cli.slim import SLIM
from kontinuum.foundation import process
from kontinuum.foundation.clock import Clock
from kontinuum.foundation.sockets import ReadyListener, is_listening


class ProcessLauncher:
    """See the module. ``directory`` holds the sockets on which parts say that they are ready."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def launch(self, part: Part) -> RunningProcess:
        listener = None if part.socket else ReadyListener(self._directory / f"{part.name}.ready")
        reader, writer = os.pipe2(os.O_CLOEXEC)
        output = open_log(part.log)
        try:
            child = process.spawn(
                *part.command,
                stdin=reader,
                stdout=output,
                stderr=output,
                env={**SLIM, **part.environment, **(listener.environment if listener else {})},
                die_with_parent=True,
            )
        except BaseException:
            os.close(writer)
            if listener:
                listener.close()
            raise
        finally:
            os.close(reader)
            os.close(output)
        return RunningProcess(part, child, listener, writer, self._clock)


class RunningProcess:
    """One life of a part as a child process."""

    def __init__(
        self, part: Part, child: process.Child, listener: ReadyListener | None, writer: int, clock: Clock
    ) -> None:
        self._part = part
        self._child = child
        self._listener = listener
        self._clock = clock
        self._feeding = asyncio.create_task(self._feed(writer))

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait_ready(self) -> None:
        await asyncio.shield(self._feeding)
        if self._listener is not None:
            await self._listener.wait_ready()
        elif self._part.socket is not None:
            while not is_listening(self._part.socket):
                await self._clock.sleep(0.02)

    async def wait(self) -> int:
        return await self._child.wait()

    async def stop(self) -> int:
        # The child alone, never its group: what the shim's parent and containerd have started belongs to pods.
        return await self._child.stop(grace=self._part.grace, group=False)

    def close(self) -> None:
        self._feeding.cancel()
        self._child.close()
        if self._listener is not None:
            self._listener.close()

    async def _feed(self, writer: int) -> None:
        try:
            content = await self._part.standard_input()
            # Settings are far smaller than a pipe (64 KiB), so this never blocks.
            os.write(writer, content)
        except BrokenPipeError:
            return  # The child has ended before it read; its exit says why.
        finally:
            os.close(writer)
