"""Bring up a loopback phone to play with: `python -m tests.loopback_phone [KIND] [-- COMMAND …]`.

With a command, it runs while the phone is up and the phone goes away with it; without, until Ctrl-C. A kind that ends
with arm64 is emulated; it has no app and no Python, so measure it with --instrument native.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.android.adb import Adb, find_program
from tests.loopback_phone.packages import Unavailable
from tests.loopback_phone.phone import PHONES, AdbServer, LoopbackPhone, slower_app, why_not
from tests.loopback_phone.slower_app import delays_ms


def main() -> int:
    kinds = sorted(path.name for path in PHONES.iterdir())
    parser = argparse.ArgumentParser(prog="python -m tests.loopback_phone", description=__doc__)
    parser.add_argument(
        "kind", nargs="*", choices=kinds, default="pixel_android14", help="a phone for each; pixel_android14"
    )
    parser.add_argument("--without-app", action="store_true", help="the demo app is not installed")
    parser.add_argument(
        "--slower",
        action="append",
        metavar="FORMAT=MS,…",
        type=_delays,
        help="another phone, of the first kind, whose app takes so much longer in these formats",
    )
    before, command = _split(sys.argv[1:])
    options = parser.parse_args(before)
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="loopback-phone-") as name:
        folder = Path(name)
        server = AdbServer(find_program(), folder / "server").start()
        asked = [options.kind] if isinstance(options.kind, str) else options.kind
        if options.slower:
            phones = [
                LoopbackPhone(folder / f"phone{number}", asked[0], **slower_app(delays))
                for number, delays in enumerate(options.slower)
            ]
        else:
            phones = [
                LoopbackPhone(folder / f"phone{number}", kind, has_app=not options.without_app)
                for number, kind in enumerate(asked)
            ]
        try:
            for phone in phones:
                server.attach(phone.start())
            return _use(server, command)
        except Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            for phone in phones:
                phone.stop()
            server.stop()


def _delays(text: str) -> str:
    try:
        delays_ms(text)
    except ValueError:
        message = f"{text!r} says no delays. Write it like this: --slower onnx=8,litert=3"
        raise argparse.ArgumentTypeError(message) from None
    return text


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _use(server: AdbServer, command: list[str]) -> int:
    environment = {key: server.environment[key] for key in ("ANDROID_ADB_SERVER_PORT", "ADB")}
    if command:
        return subprocess.run(command, env={**os.environ, **environment}).returncode
    for row in Adb.find(environment=server.environment).devices():
        print(row)
    print("in another terminal:\n  " + " ".join(f"export {key}={value};" for key, value in environment.items()))
    print("  python -m bench --device android\nCtrl-C ends it")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
