"""What a row says of one input that was run again and again."""

from distill.contract import Strict


class SeenOutput(Strict):
    """One of the different outputs.

    Attributes:
        sha256: of its values as float32, little-endian.
        calls: how many calls gave it.
        launches: in how many launches it was seen.
        max_abs_difference: largest difference of a logit to the first output of its launch; None if one is no number.
    """

    sha256: str
    calls: int
    launches: int
    max_abs_difference: float | None


class Repeated(Strict):
    """The outputs of one input, bit for bit, in one process and across launches.

    Attributes:
        calls: how many there were.
        launches: in how many processes.
        outputs: the different ones, those that most calls gave first.
    """

    calls: int
    launches: int
    outputs: tuple[SeenOutput, ...]

    @property
    def where(self) -> str:
        """E.g. "3 launches"."""
        return "1 launch" if self.launches == 1 else f"{self.launches} launches"

    @property
    def differs(self) -> str | None:
        """That not all outputs are the same, in words; None if they are."""
        if len(self.outputs) <= 1:
            return None
        others = sum(output.calls for output in self.outputs[1:])
        apart = [output.max_abs_difference for output in self.outputs if output.max_abs_difference is not None]
        by = f", by up to {max(apart):.3g}" if apart and max(apart) > 0 else ""
        return (
            f"one input gave {len(self.outputs)} different outputs in {self.calls} calls of {self.where} "
            f"({others} calls unlike the most frequent one{by})"
        )
