"""Plans: parameters by closed form, memory that is refused, and presets with the published sizes."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from base_folder import make_base
from dslora.bench import bench_spec
from dslora.classifier import build_classifier
from dslora.cli import main
from dslora.errors import DsLoraError
from dslora.export import build_graph, prune
from dslora.export.blocks import quantize_blocks
from dslora.export.half import to_half
from dslora.export.quantize import quantize
from dslora.methods import METHODS
from dslora.plan import Division, check_fits, make_plan, parse_memory
from dslora.plan.estimate import alternatives, is_four_bit, on_four_bits
from dslora.plan.fit import size
from dslora.plan.outline import make_outline, saved_by_forward
from dslora.plan.text import as_text
from dslora.presets import PRESETS
from dslora.reproduce.experiments import EXPERIMENTS
from dslora.reproduce.plan import make_cell
from dslora.reproduce.presets import PRESETS as REPRODUCTIONS
from dslora.train import TrainSettings
from test_commands import options, write_posts
from tiny_training import make_spec

# Of the published checkpoints' base models: without task heads and without BERT's unused pooler.
_PUBLISHED = {
    "minilm": 22_565_376,
    "roberta-base": 124_055_040,
    "xlm-r-base": 277_453_056,
    "mdeberta-v3-base": 278_218_752,
    "modernbert-base": 149_014_272,
    "smollm2-135m": 134_515_008,
    "llama3-8b": 7_504_924_672,
    "gemma-7b": 8_537_680_896,
}

# As wide as the exporter wants a matrix that it quantises.
_WIDE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_the_published_parameters(name: str) -> None:
    from dslora.bases import outline_encoder

    with torch.device("meta"):
        encoder = outline_encoder(PRESETS[name].config())
    assert sum(p.numel() for p in encoder.parameters()) == _PUBLISHED[name]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_a_preset_recommends_can_be_planned(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--base", name, *PRESETS[name].options().split(), "--memory", "1T"]) == 0
    assert f"Recommended: {PRESETS[name].options()}" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["ds-lora", "lora", "dora", "houlsby", "full"])
def test_a_plan_counts_what_is_built(method: str, base: str) -> None:
    spec = make_spec(base, method)
    built = build_classifier(spec)
    counts = make_plan(spec, TrainSettings()).counts
    assert counts.trainable == built.trainable_parameters()
    assert counts.total == sum(p.numel() for p in built.parameters())


def test_activations_are_those_that_a_forward_pass_keeps(base: str) -> None:
    from torch.autograd.graph import saved_tensors_hooks

    from dslora.bases import base_config

    spec = make_spec(base)
    outline = make_outline(spec, base_config(base), "float32")
    counted = saved_by_forward(outline, 4, 24).bytes
    model = build_classifier(spec).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage
        return tensor

    ids = torch.ones((4, 24), dtype=torch.long)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model.encoder(input_ids=ids)
    assert counted == pytest.approx(sum(storage.nbytes() for storage in seen.values()), rel=0.02)


_FAMILIES: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertModel(BertConfig(vocab_size=96, **_WIDE), add_pooling_layer=False),
    "llama": lambda: LlamaModel(LlamaConfig(vocab_size=96, num_key_value_heads=2, **_WIDE)),
}


@pytest.mark.parametrize(
    ("family", "method"), [("bert", "ds-lora"), ("bert", "lora"), ("bert", "houlsby"), ("llama", "ds-dora")]
)
def test_served_weights_have_the_bytes_of_an_exported_graph(family: str, method: str, tmp_path: Path) -> None:
    spec = make_spec(make_base(tmp_path, _FAMILIES[family]()), method)
    classifier = build_classifier(spec)
    with torch.no_grad():
        # Not as it starts: a graph keeps constants that are alike once, and rank without effect not at all.
        for parameter in classifier.parameters():
            parameter.normal_(std=0.1)
    graph = build_graph(prune(classifier).classifier, 1.0)
    found = {
        "fp32": graph,
        "fp16": to_half(graph),
        "int8": quantize(graph),
        "4-bit": quantize_blocks(graph, 4, integers=True),
    }
    serving = make_plan(spec, TrainSettings()).serving
    assert serving.keys() == found.keys()
    for name, model in found.items():
        weights = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
        # Positions and shapes are int64, and no parameters.
        size = sum(weight.nbytes for weight in weights if weight.dtype != ir.DataType.INT64)
        assert serving[name] == pytest.approx(size, rel=0.005), name


def test_training_on_the_cpu_is_planned_with_what_was_measured_and_little_more() -> None:
    """Peak anonymous memory of LoRA on MiniLM, whole windows in batches of 16, on x86-64 Linux with glibc."""
    spec = bench_spec("minilm", "lora", 128)
    for checkpointing, measured in {False: 1421, True: 970}.items():
        settings = TrainSettings(batch_size=16, gradient_checkpointing=checkpointing)
        total = make_plan(spec, settings, "cpu").memory.total / 2**20
        assert measured <= total <= 1.15 * measured


def test_each_saving_saves(base: str) -> None:
    spec, settings = replace(make_spec(base), max_tokens=64), TrainSettings(batch_size=32)
    plain = make_plan(spec, settings).memory
    assert make_plan(spec, replace(settings, gradient_checkpointing=True)).memory.activations < plain.activations / 2
    parts = make_plan(spec, replace(settings, accumulation=4)).memory
    assert parts.activations == pytest.approx(plain.activations / 4, rel=0.02)
    assert make_plan(spec, replace(settings, base_precision="bf16")).memory.base == pytest.approx(plain.base / 2)


def test_what_cannot_fit_is_refused_with_what_would(base: str) -> None:
    spec, settings = replace(make_spec(base), max_tokens=64), TrainSettings(batch_size=64)
    plan = make_plan(spec, settings)
    small = make_plan(spec, replace(settings, gradient_checkpointing=True)).memory.total
    assert check_fits(spec, settings, "cpu", int(plan.memory.total) + 1).memory == plan.memory
    with pytest.raises(DsLoraError, match="fits with --gradient-checkpointing:"):
        check_fits(spec, settings, "cpu", int((small + plan.memory.total) / 2))
    with pytest.raises(DsLoraError, match="The least that these methods need"):
        check_fits(spec, settings, "cpu", 2**20)


@pytest.mark.parametrize(
    ("device", "precision", "here", "warned"),
    [
        ("cpu", "fp32", {"architecture": "x86_64"}, True),
        ("cpu", "fp32", {"architecture": "x86_64", "amx_bf16": True}, False),
        # Who has asked for it has been told.
        ("cpu", "bf16", {"architecture": "x86_64"}, False),
        # A plan for a GPU does not ask this processor.
        ("cuda", "fp32", {"architecture": "x86_64"}, False),
    ],
)
def test_advice_of_bfloat16_says_what_it_costs_a_processor_without_it(
    device: str, precision: Any, here: dict[str, Any], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: here)
    spec, settings = bench_spec("minilm", "lora", 32), TrainSettings(precision=precision)
    *_, (options, least) = alternatives(make_plan(spec, settings, device))
    assert options.endswith("--base-precision bf16 --precision bf16")
    with pytest.raises(DsLoraError, match=r"It fits with .* --base-precision bf16 --precision bf16: ") as refused:
        check_fits(spec, settings, device, int(least.memory.total) + 1)
    assert ("--precision bf16 takes many times as long here." in str(refused.value)) == warned


def test_the_command_prints_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "--base", "llama3-8b", "--method", "lora", "--json"]
    assert main([*arguments, "--memory", "80GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Query 4096 -> 4096 and value 4096 -> 1024, rank 8, 32 layers, and the head.
    assert found["parameters"]["trainable"] == 32 * 8 * (4096 + 4096 + 4096 + 1024) + 2 * 4096 + 2
    assert found["fits"]
    assert found["time"]["estimated"]
    assert main([*arguments, "--memory", "24GB"]) == 1
    assert "It fits with --gradient-checkpointing" in capsys.readouterr().err
    assert main([*arguments, "--memory", "much"]) == 1


def test_a_plan_for_a_gpu_that_is_not_here_refuses_nothing(
    base: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["plan", "--base", base, "--max-tokens", "64", "--device", "cuda"]
    assert main(arguments) == 0
    page, said = capsys.readouterr()
    assert re.search(r"\n  total +\S+ MiB\n", page)
    assert "Nothing is refused: torch finds no CUDA device here" in said
    assert "--memory 24GB" in said
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["available"], found["fits"]) == (None, None)
    # Who names the GPU's memory is told as on its own machine.
    assert main([*arguments, "--memory", "24GB"]) == 0
    page, said = capsys.readouterr()
    assert "  of 24.0 GiB\n" in page
    assert not said
    assert main([*arguments, "--memory", "1MB"]) == 1


def test_memory_is_read_with_its_unit() -> None:
    assert parse_memory("24GB") == parse_memory("24 GiB") == 24 * 2**30
    assert parse_memory("512m") == 2**29
    for text in ("", "GB", "-3GB", "0"):
        with pytest.raises(DsLoraError, match="no amount of memory"):
            parse_memory(text)


@pytest.mark.parametrize(("method", "quantized"), [("lora", "qlora"), ("ds-lora", "ds-qlora"), ("dora", "qlora")])
def test_the_hint_at_four_bits_says_what_a_plan_of_them_says(
    method: str, quantized: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--base", "llama3-8b", "--method", method, "--memory", "8GB"]) == 1
    hint = re.search(r"With a 4-bit base \((.*?)\) it would be about ([\d.]+ GiB)\.", capsys.readouterr().err)
    assert hint is not None
    typed, said = hint.groups()
    assert f"--method {quantized} " in typed
    assert main(["plan", "--base", "llama3-8b", *typed.split(), "--json", "--memory", "8GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert said == size(found["training"]["total"])
    # Embeddings and norms keep their 16 bits, linear layers have half a byte and their scales.
    embeddings, norms = 128_256 * 4096, 65 * 4096
    linear = 7_504_924_672 - embeddings - norms
    assert found["training"]["base"] == pytest.approx(2 * (embeddings + norms) + linear * (4 + 0.127) / 8, rel=1e-3)


def test_four_bits_are_not_advised_to_who_has_them(base: str) -> None:
    assert {name for name in ("lora", "ds-lora", "qlora", "ds-qlora", "full") if is_four_bit(name)} == {
        "qlora",
        "ds-qlora",
    }
    assert on_four_bits(make_plan(make_spec(base, "qlora"), TrainSettings())) is None
    with pytest.raises(DsLoraError, match="The least that these methods need") as refused:
        check_fits(make_spec(base, "qlora"), TrainSettings(), "cpu", 2**20)
    assert "4-bit" not in str(refused.value)


def test_a_plan_is_read_as_a_page(base: str) -> None:
    plan = make_plan(make_spec(base, "qlora"), TrainSettings(batch_size=12, accumulation=3))
    page = as_text(plan, 2**30, 1000, 75.0, "2 cores")
    assert page.startswith(f"qlora on {base}\n")
    assert re.search(rf"  trained +{plan.counts.trainable:,}  \(", page)
    assert "batches of 4 texts of 32 tokens" in page
    assert re.search(rf"  total +{re.escape(size(plan.memory.total))}  of 1\.0 GiB\n", page)
    assert all(re.search(rf"  {name} +{re.escape(size(value))}\n", page) for name, value in plan.serving.items())
    assert "Time: about 75 s for 6 epochs of 1,000 posts on 2 cores." in page
    assert "Licence" not in page
    preset = make_plan(replace(plan.spec, base="minilm"), plan.settings)
    assert "Licence: Apache-2.0. Recommended: --batch-size 16" in as_text(preset, 2**30, 1000, 75.0, "2 cores")


def test_processes_share_batches_and_with_fsdp_weights_too(base: str) -> None:
    spec, settings = make_spec(base, "full"), TrainSettings(batch_size=16)
    alone, half = make_plan(spec, settings).memory, make_plan(spec, replace(settings, batch_size=8)).memory
    assert make_plan(spec, settings, division=Division(2)).memory == half
    sharded = make_plan(spec, settings, division=Division(2, sharded=True)).memory
    assert (sharded.trained, sharded.state) == (alone.trained / 2, alone.state / 2)
    assert sharded.activations == half.activations
    frozen = make_plan(make_spec(base, "lora"), settings, division=Division(2, sharded=True)).memory.base
    assert frozen == make_plan(make_spec(base, "lora"), settings).memory.base / 2
    # While a layer computes, it and the next are whole, and so is what stands outside of the three layers.
    counts = make_plan(spec, settings).counts
    outside = 4 * counts.embeddings
    assert sharded.transient - half.transient == pytest.approx(outside + (4 * counts.total - outside) * 2 / 3)
    with pytest.raises(DsLoraError, match="cannot be divided among 3 processes"):
        make_plan(spec, settings, division=Division(3))
    with pytest.raises(DsLoraError, match=r"for each process\. .* among more GPUs\.") as refused:
        check_fits(spec, settings, "cuda", 2**20, division=Division(2, sharded=True))
    assert "fsdp.yaml" not in str(refused.value)


class Launched:
    """What a process of ``accelerate launch`` finds."""

    def __init__(self, device: str, count: int, is_fsdp: bool) -> None:
        self.device, self.count, self.is_fsdp, self.is_main = torch.device(device), count, is_fsdp, True


@pytest.mark.parametrize("command", ["train", "pipeline"])
@pytest.mark.parametrize(
    ("device", "count", "is_fsdp", "more", "fits"),
    [
        ("cuda", 1, False, [], False),
        ("cuda", 2, False, [], False),
        ("cuda", 2, True, [], True),
        ("cuda", 2, False, ["--ignore-memory"], True),
        # The two share this machine's memory.
        ("cpu", 2, True, [], False),
    ],
)
def test_a_process_is_asked_for_its_own_part(
    command: str,
    device: str,
    count: int,
    is_fsdp: bool,
    more: list[str],
    fits: bool,
    base: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = options(base, write_posts(tmp_path / "posts.csv", 240), tmp_path / "run")
    given = [*given[: given.index("--rank")], "--method", "full", *more]
    if command == "pipeline":
        given += ["--bundle", str(tmp_path / "bundle")]
    spec = replace(make_spec(base, "full"), max_tokens=24)
    shared = make_plan(spec, TrainSettings(), device, division=Division(2, sharded=True)).memory.total
    monkeypatch.setattr("dslora.train.processes.Processes", lambda name: Launched(device, count, is_fsdp))
    monkeypatch.setattr("dslora.plan.fit.device_memory", lambda name: int(shared) + 1)

    def reached(*arguments: Any, **options: Any) -> Any:
        raise DsLoraError("the training was reached")

    monkeypatch.setattr("dslora.run.train_run", reached)
    assert main([command, *given]) == 1
    error = capsys.readouterr().err
    assert ("the training was reached" in error) == fits
    assert ("With --ignore-memory it is tried all the same." in error) != fits


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--method", "n-grams"], "Method n-grams has no base model, so there is nothing to plan."),
        (["--method", "lora", "--l1-strength", "0.3"], "Method lora does not use --l1-strength"),
        (["--method", "lora", "--gate-hidden", "4"], "Method lora does not use --gate-hidden"),
    ],
)
def test_a_plan_refuses_what_a_training_refuses(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *more]) == 1
    assert said in capsys.readouterr().err


def test_the_paper_on_one_gpu_has_room_for_every_row_but_full_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = REPRODUCTIONS["paper"]
    needed: dict[str, list[float]] = {}
    for base in paper.bases:
        for variant in EXPERIMENTS["table1"].rows(paper):
            if variant.method in METHODS and METHODS[variant.method].trains:
                cell = make_cell(paper, base, "olid", variant, 0)
                adapter = METHODS[cell.method].settings(**cell.adapter)
                spec = replace(make_spec(base, cell.method), adapter=adapter, max_tokens=cell.max_tokens)
                total = make_plan(spec, cell.settings(), "cuda").memory.total
                needed.setdefault(cell.method, []).append(total)
    assert {method for method, totals in needed.items() if max(totals) > 80 * 2**30} == {"full"}
    # What the message says, of the smaller of the two.
    assert min(needed["full"]) == pytest.approx(120e9, rel=0.03)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DsLoraError, match="80 GB of memory; full fine-tuning takes about 120 GB"):
        paper.check_device()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rows", "-5"], "--rows is -5; expected 1 or more"),
        (["--tokens", "0"], "--tokens is 0; expected 1 or more"),
        (["--cores", "-1"], "--cores is -1; expected 1 or more"),
        (["--classes", "1"], "--classes is 1; expected 2 or more"),
        (["--teraflops", "-3"], "--teraflops is -3; expected a number above 0"),
        (["--max-tokens", "0"], "--max-tokens is 0; expected 8 or more"),
        (["--max-tokens", "100000"], "--max-tokens 100000 is more than the 8192 that base model 'llama3-8b' reads"),
        (["--l1-strength", "-1"], "L1 lambda is -1.0"),
    ],
)
def test_what_no_plan_can_be_made_of(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--base", "llama3-8b", "--memory", "80GB", *more]) == 1
    assert message in capsys.readouterr().err


def test_zero_shot_is_advised_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["plan", "--base", "llama3-8b", "--method", "zero-shot", "--memory", "24GB"]
    assert main(given) == 1
    said = capsys.readouterr().err
    assert "It fits with --base-precision bf16: " in said
    assert main([*given, "--base-precision", "bf16"]) == 0
    assert "Recommended: --base-precision bf16\n" in capsys.readouterr().out


def test_houlsby_adapts_what_ends_a_layer_also_where_projections_are_fused(capsys: pytest.CaptureFixture[str]) -> None:
    """ModernBERT has 22 layers of width 768; a bottleneck of 16 follows attention and feed-forward of each."""
    assert main(["plan", "--base", "modernbert-base", "--method", "houlsby", "--json"]) == 0
    parameters = json.loads(capsys.readouterr().out)["parameters"]
    bottleneck, head = 2 * 768 * 16 + 768 + 16, 2 * 768 + 2
    assert parameters["trainable"] == 2 * 22 * bottleneck + head
    assert main(["plan", "--base", "modernbert-base", "--method", "houlsby"]) == 0
    assert "--target-modules" not in capsys.readouterr().out
