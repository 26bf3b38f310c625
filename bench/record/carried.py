"""What each runtime adds to an app: `runtime-bytes.json`, as `python -m android_demo weigh` writes it."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from distill.contract import Contract, Strict

RUNTIME_BYTES = Path("out/android/runtime-bytes.json")
"""Where it lies unless another place is named."""


class CarriedRuntime(Strict):
    """One runtime.

    Attributes:
        archive: group:artifact:version.
        size_bytes: of its native libraries for one ABI, as they lie in the app.
        weighed_in: the file it was weighed in, a built app or the runtime's own package.
    """

    archive: str
    size_bytes: Annotated[int, Field(ge=0)]
    weighed_in: str


class RuntimeBytes(Contract):
    """What each runtime adds to an app on one kind of phone.

    Attributes:
        abi: e.g. "arm64-v8a".
        runtimes: by the name that formats begin with: an `executorch-vulkan` model needs `executorch`.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    abi: str
    runtimes: dict[str, CarriedRuntime]

    def of(self, format_name: str) -> int | None:
        """Bytes that a model of this format needs beside its own; None if that runtime was not weighed."""
        runtime = self.runtimes.get(format_name.partition("-")[0])
        return None if runtime is None else runtime.size_bytes
