import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from dslora.encoding import TextEncoder
from dslora.export.golden_texts import golden_texts
from dslora.export.tokenizer import write_tokenizer
from dslora.normalization import NormalizationError, normalize

PROJECT = Path(__file__).resolve().parents[3]
JAVASCRIPT = PROJECT / "node_modules" / "@huggingface" / "tokenizers" / "dist" / "tokenizers.mjs"


def texts_with_ids(encoder: TextEncoder) -> list[tuple[str, list[int]]]:
    found = []
    for text in golden_texts(encoder.max_tokens):
        try:
            found.append((normalize(text, encoder.steps), encoder.ids(text)))
        except NormalizationError:
            continue
    return found


def test_padding_and_truncation_are_reset(tokenizer: Any, encoder: TextEncoder, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, tokenizer, encoder)
    stored = json.loads((tmp_path / "tokenizer.json").read_text())
    assert stored["padding"] is None
    assert stored["truncation"] is None
    reread = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, ids in texts_with_ids(encoder):
        assert reread.encode(text, add_special_tokens=False).ids == ids


def test_the_configuration_names_no_machine_and_a_class_that_readers_know(
    tokenizer: Any, encoder: TextEncoder, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path, tokenizer, encoder)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizer",
        "model_max_length": 32,
        "clean_up_tokenization_spaces": False,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
    }


SCRIPT = """
import { readFileSync } from 'node:fs';
const [library, folder] = process.argv.slice(-2);
const { Tokenizer } = await import(library);
const read = (name) => JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'));
const tokenizer = new Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
const ids = read('texts.json').map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
console.log(JSON.stringify(ids));
"""


@pytest.mark.skipif(not JAVASCRIPT.is_file() or not shutil.which("node"), reason="needs node and npm ci")
def test_javascript_reads_the_same_ids(tokenizer: Any, encoder: TextEncoder, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, tokenizer, encoder)
    expected = texts_with_ids(encoder)
    (tmp_path / "texts.json").write_text(json.dumps([text for text, _ in expected]))
    command = ["node", "--input-type=module", "-e", SCRIPT, "--", str(JAVASCRIPT), str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [ids for _, ids in expected]
