/** Text -> token ids. The only file that imports the tokenizer library. */
import { readFile } from 'node:fs/promises';

import { PreTrainedTokenizer } from '@huggingface/transformers';

import { createWordPiece } from './wordpiece.ts';

/** @returns ids of the whole text, without special tokens, truncation or padding */
export type Tokenizer = (text: string) => readonly number[];

/**
 * @param tokenizerFile path of `tokenizer.json`
 * @param configFile path of `tokenizer_config.json`
 * @throws Error when the files are no tokenizer that the library knows
 */
export async function loadTokenizer(tokenizerFile: string, configFile: string): Promise<Tokenizer> {
  const [tokenizer, config] = await Promise.all(
    [tokenizerFile, configFile].map(async (file) => JSON.parse(await readFile(file, 'utf8')) as object),
  );
  const pretrained = new PreTrainedTokenizer(tokenizer as object, config as object);
  quickenWordPiece(pretrained);
  return (text) => pretrained.encode(text, { add_special_tokens: false });
}

/** Gives a WordPiece tokenizer the quick encoder; others stay as they are. */
function quickenWordPiece(pretrained: PreTrainedTokenizer): void {
  const { model } = pretrained._tokenizer;
  if (model?.config.type !== 'WordPiece') return;
  const { unk_token: unknown, continuing_subword_prefix: continuing, max_input_chars_per_word } = model.config;
  if (unknown === undefined || continuing === undefined) return;
  const longestWord = max_input_chars_per_word ?? 100;
  model.encode = createWordPiece({ pieces: model.tokens_to_ids, unknown, continuing, longestWord });
}
