"""A training that takes seconds: a tiny base, and a class that is whether one word stands in the text."""

from dataclasses import replace
from typing import Any

import torch

from base_folder import WORDS
from dslora.classifier import Classifier, ClassifierSpec, build_classifier
from dslora.encoding import TextEncoder, text_encoder
from dslora.methods import METHODS
from dslora.sparsity import L1Settings
from dslora.train import TrainSettings
from dslora.train.batches import Split

SETTINGS = TrainSettings(
    epochs=4,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    patience=4,
    device="cpu",
)
# Twenty steps an epoch: one that is killed goes on from the middle of one.
OFTEN_KEPT = replace(SETTINGS, checkpoint_every=3)

# What is not the same for every method; a tiny model has little to adapt.
_SMALL: dict[str, dict[str, Any]] = {
    "full": {},
    "houlsby": {"bottleneck": 4},
    "adalora": {"rank": 4, "initial_rank": 6, "alpha": 16, "budget_interval": 5, "orthogonality": 0.1},
}


def small_settings(method: str, **options: Any) -> Any:
    return METHODS[method].settings(**{**_SMALL.get(method, {"rank": 4, "alpha": 8}), **options})


def make_spec(base: str, method: str = "ds-lora", **options: Any) -> ClassifierSpec:
    sparse = METHODS[method].sparse
    return ClassifierSpec(
        base=base,
        method=method,
        labels=("no", "yes"),
        positive_labels=("yes",),
        normalization=("nfkc", "whitespace"),
        max_tokens=32,
        window_overlap=4,
        adapter=small_settings(method, **options),
        l1=L1Settings(strength=0.3) if sparse else None,
    )


def make_split(seed: int, rows: int, encoder: TextEncoder) -> Split:
    """The class is whether w0 stands in the text: something that a tiny model learns in seconds."""
    generator = torch.Generator().manual_seed(seed)
    windows, labels = [], []
    for row in range(rows):
        length = int(torch.randint(3, 12, (1,), generator=generator))
        words = [WORDS[int(i)] for i in torch.randint(1, 40, (length,), generator=generator)]
        if row % 2:
            words[int(torch.randint(0, length, (1,), generator=generator))] = WORDS[0]
        windows.append(encoder.windows(encoder.ids(" ".join(words)))[0])
        labels.append(row % 2)
    return Split(windows, labels)


def make_all(spec: ClassifierSpec) -> tuple[Classifier, TextEncoder, Split, Split]:
    from dslora.bases import load_tokenizer, resolve_base

    encoder = text_encoder(
        load_tokenizer(resolve_base(spec.base)), spec.normalization, spec.max_tokens, spec.window_overlap
    )
    torch.manual_seed(0)
    return build_classifier(spec), encoder, make_split(1, 160, encoder), make_split(2, 40, encoder)
