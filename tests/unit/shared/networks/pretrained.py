"""Tiny pretrained encoders as folders, in the format of the library that reads them; weights are random, and fixed.

Tests that import this are skipped where the extras encoders-text and encoders-image are not installed.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    import timm
    import torchvision
    import transformers
else:
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    transformers = pytest.importorskip("transformers")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "shoe", "hat", "in", "leather")
TEXT_WIDTH = 16
TIMM, TORCHVISION = "test_resnet", "shufflenet_v2_x0_5"


def write_text_model(folder: Path, seed: int = 0) -> tuple["transformers.BertTokenizerFast", "transformers.BertModel"]:
    """Two layers of BERT with a vocabulary of a dozen words; what reads it, for comparison."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    model = transformers.BertModel(config).eval()
    model.save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)})
    tokenizer.save_pretrained(folder)
    return tokenizer, model


def write_timm_model(folder: Path, seed: int = 0) -> torch.nn.Module:
    """Timm's own network for tests, half a million numbers, on pictures of 64 pixels a side; without its classifier."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    network = timm.create_model(TIMM, pretrained=False, num_classes=7)
    expected = {"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    (folder / "config.json").write_text(json.dumps({"architecture": TIMM, "pretrained_cfg": expected}))
    save_file(network.state_dict(), folder / "model.safetensors")
    network.reset_classifier(0)
    eval_network: torch.nn.Module = network.eval()
    return eval_network


def write_torchvision_model(folder: Path, seed: int = 0) -> torch.nn.Module:
    """A small network of torchvision, whole; its name is the folder's."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    network: torch.nn.Module = torchvision.models.get_model(TORCHVISION, weights=None).eval()
    save_file(network.state_dict(), folder / "model.safetensors")
    return network
