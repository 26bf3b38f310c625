"""Why something failed, for people: without colours and advice for developers, and never cut off at a colon."""

import pytest
import torch
from torch import Tensor, nn

from distill.errors import WorkFailed
from export.formats.causes import in_words


class Branches(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 1.9:
            images = -images
        return images


def raised(outer: str, inner: str | None = None) -> BaseException:
    error = RuntimeError(outer)
    error.__cause__ = None if inner is None else ValueError(inner)
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkFailed("our own words: as they are"), "our own words: as they are"),
        (raised("unsupported operator aten::made_up\nsecond line"), "RuntimeError: unsupported operator aten::made_up"),
        (raised("\n\n"), "RuntimeError: no message"),
        (raised("these are missing:\n  weight\n  bias\n\nmore"), "RuntimeError: these are missing: weight bias"),
        (
            raised("\x1b[96mExport failed.\x1b[0m Next steps:\n- read", "no rule for \x1b[1mfoo\x1b[0m"),
            "RuntimeError: Export failed.; caused by ValueError: no rule for foo",
        ),
        (raised("step two: no rule", "no rule"), "RuntimeError: step two: no rule"),
    ],
)
def test_a_cause_is_one_paragraph(error: BaseException, words: str) -> None:
    assert in_words(error) == words


@pytest.mark.filterwarnings("ignore")
def test_why_pytorch_cannot_export_a_network_is_told_with_the_place() -> None:
    images = torch.rand(1, 3, 8, 8)
    with pytest.raises(Exception, match="data-dependent") as direct:
        torch.export.export(Branches(), (images,))
    with pytest.raises(torch.onnx.errors.OnnxExporterError) as through_onnx:
        torch.onnx.export(Branches(), (images,), dynamo=True)
    for error in (direct.value, through_onnx.value):
        told = in_words(error)
        assert "data-dependent" in told
        assert "test_causes.py" in told
        assert "\x1b" not in told
        assert "Next steps" not in told
        assert "\n" not in told
