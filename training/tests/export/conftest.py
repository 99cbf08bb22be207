"""Tiny models with random weights: a BERT-like encoder and a Llama-like decoder, a few hundred kilobytes each."""

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedTokenizerFast

from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.encoding import TextEncoder, text_encoder
from dslora.evaluation import Threshold, distribution
from dslora.export import (
    BundleDetails,
    Calibration,
    DataTerms,
    LabelledTexts,
    Pruned,
    Training,
    TrainingData,
    attributes_for,
    build_graph,
    bundle,
    prune,
)
from dslora.export.outcome import Scores, WindowedTexts
from dslora.export.session import GraphSession
from dslora.inference import predict, softmax
from dslora.methods import find_method

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
STEPS = ("html-entities", "nfkc", "invisible", "urls", "mentions", "lowercase", "whitespace")
TEMPERATURE = 1.3


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """WordPiece over letters, with the padding and truncation that all-MiniLM's file carries."""
    letters = string.ascii_lowercase + string.digits + "@.,!?"
    vocabulary = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), "river", "the", "fool", "you"]
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_padding(length=128)
    backend.enable_truncation(128)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="session")
def encoder(tokenizer: Any) -> TextEncoder:
    return text_encoder(tokenizer, STEPS, max_tokens=32, overlap=8)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    common = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, **sizes}
    decoder = {**common, "num_key_value_heads": 2, "head_dim": 32, "pad_token_id": 0}
    torch.manual_seed(0)
    made: dict[str, nn.Module] = {
        "bert": BertModel(BertConfig(**common)),
        "llama": LlamaModel(LlamaConfig(**decoder)),
    }
    for name, model in made.items():
        _enlarge(model)
        model.save_pretrained(folder / name)  # type: ignore[operator]
    # With its output layer and tokenizer, which zero-shot asks.
    asked = LlamaForCausalLM(LlamaConfig(**decoder, tie_word_embeddings=True))
    _enlarge(asked)
    for part in (asked, tokenizer):
        part.save_pretrained(folder / "language-model")
    return {name: folder / name for name in (*made, "language-model")}


def _enlarge(model: nn.Module) -> None:
    """Gives a model larger weights than a fresh one's, so that texts are told apart."""
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.08)


# What is not the same for every method.
SMALL: dict[str, dict[str, Any]] = {
    "full": {},
    "zero-shot": {"prompt": "you {text} why", "words": ("calm", "fool")},
    "houlsby": {"bottleneck": 4},
    "adalora": {"rank": 2, "initial_rank": 4, "alpha": 8.0},
}

Build = Callable[..., Classifier]


@pytest.fixture(scope="session")
def build(bases: dict[str, Path]) -> Build:
    """Builds a classifier whose adapters, gates and head are random and do something."""

    def make(base: str = "bert", method: str = "ds-lora", seed: int = 0, **adapter: Any) -> Classifier:
        torch.manual_seed(seed)
        settings = find_method(method).settings(**{**SMALL.get(method, {"rank": 4, "alpha": 8.0}), **adapter})
        spec = ClassifierSpec(
            base=str(bases[base]),
            method=method,
            labels=("NOT", "OFF"),
            positive_labels=("OFF",),
            normalization=STEPS,
            max_tokens=32,
            window_overlap=8,
            pooling="mean" if base == "bert" else "last",
            adapter=settings,
        )
        classifier = build_classifier(spec).eval()
        for name, value in classifier.named_parameters():
            if any(part in name for part in ("lora_B", "lora_E", ".up.")):
                nn.init.normal_(value, std=0.05)
            elif "lora_gate" in name:
                nn.init.normal_(value, std=0.2)
            elif "lora_magnitude" in name:
                value.data.mul_(torch.empty_like(value).uniform_(0.5, 2.0))
        for name, buffer in classifier.named_buffers():
            if name.endswith("input_mean"):
                nn.init.normal_(buffer)
            elif name.endswith("input_std"):
                nn.init.uniform_(buffer, 0.5, 2.0)
        nn.init.normal_(classifier.head.weight, std=0.5)
        return classifier.requires_grad_(False)

    return make


@dataclass(frozen=True)
class Exported:
    """A classifier, what was exported of it, and its float32 graph."""

    classifier: Classifier
    pruned: Pruned
    graph: ir.Model


Export = Callable[..., Exported]


@pytest.fixture(scope="session")
def export(build: Build) -> Export:
    """Exports a classifier as ``build`` makes it; each kind once, since an export takes seconds."""
    made: dict[str, Exported] = {}

    def make(*kind: str, **adapter: Any) -> Exported:
        key = repr((kind, adapter))
        if key not in made:
            classifier = build(*kind, **adapter)
            pruned = prune(classifier)
            made[key] = Exported(classifier, pruned, build_graph(pruned.classifier, TEMPERATURE))
        return made[key]

    return make


@pytest.fixture(scope="session")
def texts() -> LabelledTexts:
    """240 lines of random words, from one to several windows long."""
    rng = np.random.default_rng(0)
    words = ["the", "river", "fool", "you", "calm", "harbour", "bright", "noise", "why", "seven", "glass", "under"]
    lengths = rng.integers(1, 14, size=240)
    lines = [" ".join(rng.choice(words, size=n)) for n in lengths]
    return LabelledTexts("made-up", "development", lines, rng.integers(0, 2, size=240).tolist())


def in_batches(
    session: GraphSession, classifier: Classifier, encoder: TextEncoder, texts: LabelledTexts, sizes: Sequence[int]
) -> Iterator[tuple[Scores, Scores]]:
    """What a graph and what PyTorch answer to the first 48 texts, in batches of each size."""
    windows = WindowedTexts.of(encoder, texts.texts[:48]).windows
    for size in sizes:
        for start in range(0, len(windows), size):
            part = windows[start : start + size]
            logits, gates = classifier(*map(torch.tensor, encoder.pad(part)))
            expected = Scores(torch.softmax(logits / TEMPERATURE, dim=1).numpy(), gates.numpy())
            yield Scores(*session.run(encoder, part)), expected


@dataclass(frozen=True)
class Given:
    """Everything that ``write_bundle`` takes."""

    classifier: Classifier
    tokenizer: Any
    encoder: TextEncoder
    details: BundleDetails
    texts: LabelledTexts


@pytest.fixture(scope="session")
def given(build: Build, tokenizer: Any, encoder: TextEncoder, texts: LabelledTexts) -> Given:
    classifier = build()
    # One module without any rank: its column must go from gates and distribution alike.
    layer = classifier.gated_layers()[1]
    layer.lora_B["default"].weight.zero_()
    return describe(classifier, tokenizer, encoder, texts)


@pytest.fixture(scope="session")
def graph(given: Given) -> ir.Model:
    """The reference graph of ``given``."""
    return build_graph(prune(given.classifier).classifier, given.details.calibration.temperature)


@pytest.fixture
def built_once(graph: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are written from ``graph``: to build it takes seconds."""
    monkeypatch.setattr(bundle, "build_graph", lambda *args: graph)


def describe(classifier: Classifier, tokenizer: Any, encoder: TextEncoder, texts: LabelledTexts) -> Given:
    """A classifier of random weights with everything that its bundle states."""
    logits = predict(classifier, encoder, texts.texts).logits
    # Both labels about equally often, whatever the random head prefers.
    classifier.head.bias[1] -= float(np.median(logits[:, 1] - logits[:, 0]))
    predictions = predict(classifier, encoder, texts.texts)
    # What the model says is taken for the truth, so that its figures are nowhere near chance; but not where it hardly
    # decides, so that a label which a coarser graph decides the other way is no loss.
    decided = np.abs(predictions.logits[:, 1] - predictions.logits[:, 0]) > 0.1
    labels = np.where(decided, predictions.logits.argmax(axis=1), predictions.logits.argmin(axis=1))
    texts = replace(texts, labels=labels.tolist())
    spec = classifier.spec
    details = BundleDetails(
        name="made-up",
        version="1.0.0",
        description="A model of random weights.",
        license="Apache-2.0",
        languages=("en",),
        calibration=Calibration("development", TEMPERATURE, 0.1, 0.05),
        thresholds={
            "balanced": Threshold(0.5, 0.8, 0.8),
            "high-precision": Threshold(0.8, 0.9, 0.5),
            "high-recall": Threshold(0.2, 0.6, 0.9),
        },
        distribution=distribution(
            "development",
            softmax(predictions.logits, TEMPERATURE),
            labels,
            spec.labels,
            predictions.gates,
            classifier.gate_columns(),
            predictions.tokens,
        ),
        training=Training(
            (TrainingData("made-up", "train", "0" * 64, len(labels)),), 0, {"epochs": 0}, {"torch": "2"}, None
        ),
        terms=(DataTerms("made-up", "CC0", "Nobody 2026"),),
        attributes=attributes_for("olid", spec.positive_labels),
        base_license="Apache-2.0",
    )
    return Given(classifier, tokenizer, encoder, details, texts)
