"""The one home of ``subprocess``: programs that are run to their end, and children that live beside us.

Exits are noticed through a pidfd, so that neither SIGCHLD handlers nor one thread per child are needed and any event
loop will do. Every error carries the program's last words.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kontinuum.foundation.errors import Broken, Retryable

# Whoever runs a program asks here where it is, too.
from kontinuum.foundation.programs import find_program as find_program

Word = str | Path
_LAST_WORDS = 2000
_PR_SET_PDEATHSIG = 1
_CLONE_NEWPID = 0x20000000
_libc = ctypes.CDLL(None, use_errno=True)


class ProgramMissing(Broken):
    """The program is not on this host; the message names it."""


class ProgramFailed(Retryable):
    """The program ended with another code than 0. ``code`` is negative when a signal ended it."""

    def __init__(self, command: Sequence[str], code: int, stderr: str) -> None:
        self.command = list(command)
        self.code = code
        self.stderr = stderr
        super().__init__(f"{_short(command)}: {describe_exit(code)}" + (f": {stderr}" if stderr else ""))


class ProgramTimedOut(ProgramFailed):
    """The program was still running at its time limit and has been killed, with every child of its group."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program that ended left behind."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without the last line end."""
        return self.stdout.decode(errors="replace").rstrip("\n")


async def run(
    *command: Word,
    stdin: bytes = b"",
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run ``command`` to its end and return its output.

    ``env`` is added to our own environment; ``timeout`` is in seconds. A time-out or a cancellation kills the whole
    process group. Raises ProgramMissing, ProgramTimedOut, and, if ``check``, ProgramFailed.
    """
    source = _memory_file(stdin)
    try:
        child = spawn(*command, stdin=source, capture=True, env=env, cwd=cwd, pass_fds=pass_fds)
    finally:
        os.close(source)
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await asyncio.gather(_read(child.stdout), _read(child.stderr))
            code = await child.wait()
    except TimeoutError:
        raise ProgramTimedOut(child.command, -signal.SIGKILL, f"still running after {timeout:g} s") from None
    finally:
        await _bury(child)
    if check and code != 0:
        raise ProgramFailed(child.command, code, last_words(stderr))
    return Completed(code, stdout, stderr)


def spawn(
    *command: Word,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
    capture: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    die_with_parent: bool = False,
    own_processes: bool = False,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start ``command`` in a process group of its own and return at once.

    ``stdin``, ``stdout`` and ``stderr`` are file descriptors (output: None is ours); ``capture`` makes pipes of both
    outputs. ``die_with_parent`` sends SIGTERM to the child when the *thread* that called us ends, however it ends; it
    runs Python between fork and exec, so only a process with one thread may ask for it. ``own_processes`` makes it the
    first process of a process namespace (for root): it sees no other, and whatever it starts ends with it. Raises
    ProgramMissing.
    """
    words = [str(word) for word in command]
    try:
        with _new_process_namespace() if own_processes else nullcontext():
            popen = subprocess.Popen(
                words,
                stdin=stdin,
                stdout=subprocess.PIPE if capture else stdout,
                stderr=subprocess.PIPE if capture else stderr,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
                process_group=0,
                pass_fds=pass_fds,
                preexec_fn=_dying_with(os.getpid()) if die_with_parent else None,
            )
    except FileNotFoundError as error:
        raise ProgramMissing(f"{words[0]}: no such program on this host (or no such directory: {cwd})") from error
    except PermissionError as error:
        raise ProgramMissing(f"{words[0]}: it may not be executed: {error}") from error
    return Child(popen, words)


class Child:
    """A child process, the leader of its own process group."""

    def __init__(self, popen: subprocess.Popen[bytes], command: list[str]) -> None:
        self._popen = popen
        self._pidfd = os.pidfd_open(popen.pid)
        self._ended: asyncio.Future[int] | None = None
        self.command = command

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._popen.stderr

    def is_running(self) -> bool:
        return self._popen.poll() is None

    async def wait(self) -> int:
        """The exit code once the child has ended; negative if a signal ended it. May be awaited by several."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            loop.add_reader(self._pidfd, self._reap)
        return await asyncio.shield(self._ended)

    def wait_in_thread(self) -> int:
        """``wait`` for a thread that has no event loop."""
        return self._popen.wait()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the child, or to its whole group; nothing happens if it has ended already."""
        try:
            if group:
                os.killpg(self.pid, number)
            else:
                signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    async def stop(self, *, grace: float, group: bool = True) -> int:
        """Ask to end (SIGTERM), wait ``grace`` seconds, then kill; the whole ``group``, or the child alone.

        Returns the exit code.
        """
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL, group=group)
            return await self.wait()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        code = self._popen.wait()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(code)

    def close(self) -> None:
        """Give back the descriptors. The child itself is not touched."""
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __del__(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)


def describe_exit(code: int) -> str:
    """``ended with code 3``, or ``ended by SIGKILL`` for a negative code."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def last_words(output: bytes, *, limit: int = _LAST_WORDS) -> str:
    """The end of ``output`` that fits ``limit`` bytes, as text, for error messages."""
    return output[-limit:].decode(errors="replace").strip()


def _short(command: Sequence[str]) -> str:
    text = " ".join(command)
    return text if len(text) <= 160 else f"{text[:157]}..."


def _memory_file(content: bytes) -> int:
    """A descriptor that reads ``content``: no writer has to run beside the child, however long the input is."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


async def _read(stream: IO[bytes] | None) -> bytes:
    """Everything that comes out of a pipe until its end."""
    if stream is None:
        return b""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), stream)
    try:
        return await reader.read()
    finally:
        transport.close()


async def _bury(child: Child) -> None:
    """Leave nothing of the child's group behind, also when the caller is being cancelled."""
    if child.is_running():
        child.signal(signal.SIGKILL, group=True)
        await child.wait()
    child.close()


@contextmanager
def _new_process_namespace() -> Iterator[None]:
    """The next child of this thread is the first process of a new process namespace; those after it are not."""
    home = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _or_raise(_libc.unshare(_CLONE_NEWPID), "making a process namespace")
        try:
            yield
        finally:
            _or_raise(_libc.setns(home, _CLONE_NEWPID), "going back to our process namespace")
    finally:
        os.close(home)


def _or_raise(code: int, doing: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def _dying_with(parent: int) -> Callable[[], None]:
    def between_fork_and_exec() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # The parent may have died before the line above took effect; then nobody would ever tell us.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return between_fork_and_exec
