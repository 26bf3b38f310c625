"""An exported model on disk (`Manifest`) and how to run it on this machine (`open_runner`)."""

from export.artifact.manifest import Manifest
from export.artifact.runner import Runner, open_runner

__all__ = ["Manifest", "Runner", "open_runner"]
