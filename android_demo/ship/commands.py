"""Run a command of ours as a person would, in a process of its own, and read its `--json`."""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import UsageError, WorkFailed
from distill.system import child_environment, signal_name

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal a process gets when its parent dies."""

NO_FRAME = str.maketrans("", "", "│╭─╮╰╯")
"""What our errors are framed with, to be left out of a sentence."""


@dataclass(frozen=True)
class Ended:
    """A command that came to its end.

    Attributes:
        words: as a person types them, from `python` on.
        code: its exit code.
        stdout: what it told programs.
        seconds: that it took.
    """

    words: tuple[str, ...]
    code: int
    stdout: str
    seconds: float

    def document(self) -> Any:
        """Its `--json`.

        Raises:
            WorkFailed: what it printed is no JSON.
        """
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise WorkFailed(
                f"{shlex.join(self.words)} ended with {self.code} and without the JSON that was asked for ({error}). "
                "Run it by itself to see why; everything finished so far is kept."
            ) from error


def python_module(module: str, words: Sequence[object]) -> tuple[str, ...]:
    """The command as a person types it."""
    return ("python", "-m", module, *map(str, words))


def run(
    words: Sequence[str],
    *,
    fine: Collection[int] = (0,),
    quiet: bool = False,
    keep_open: int | None = None,
    serial: str | None = None,
) -> Ended:
    """Run a command to its end; what it tells people goes to our stderr as it comes.

    Ctrl-C reaches it once, and it is waited for: it may have a phone to put back as it was. When this process is
    killed, the command is interrupted as by Ctrl-C.

    Args:
        words: `python` means this very interpreter; anything else is a program.
        fine: exit codes that are no failure.
        quiet: keep what it tells people for the error message instead.
        keep_open: a file that it holds as well, for as long as it runs.
        serial: of the phone that it speaks to; None: the one that it finds.

    Raises:
        UsageError: it refused the request.
        WorkFailed: it failed, or was ended by a signal.
    """
    started = time.monotonic()
    program = [sys.executable, *words[1:]] if words[0] == "python" else list(words)
    process = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env=child_environment() | ({"ANDROID_SERIAL": serial} if serial else {}),
        process_group=0,
        pass_fds=() if keep_open is None else (keep_open,),
        preexec_fn=_interrupted_with(os.getpid()),
    )
    stdout, stderr = _ended(process)
    ended = Ended(tuple(words), process.returncode, stdout, time.monotonic() - started)
    if ended.code in fine:
        return ended
    told = " ".join(stderr.translate(NO_FRAME).split()).removeprefix("error ") or "the reason stands above"
    if ended.code == UsageError.exit_code:
        raise UsageError(f"{shlex.join(words)} refused: {told}")
    how = f"was ended by {signal_name(-ended.code)}" if ended.code < 0 else f"failed with {ended.code}"
    raise WorkFailed(f"{shlex.join(words)} {how}: {told}. Everything finished so far is kept; run the same again.")


def _ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    while True:
        try:
            stdout, stderr = process.communicate()
            return stdout, stderr or ""
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.communicate()
            raise


def _interrupted_with(starter: int) -> Any:
    """What a child does before it becomes a command: ask to be interrupted when the process that started it dies."""

    def ask() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it, and so would its children
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != starter:
                os._exit(1)

    return ask
