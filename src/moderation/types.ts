/** What moderation promises to whoever calls it: the engine's answers, and what a policy makes of them. */
import type { Classification, ClassifyRequest, EngineError, ServedModel, TextResult } from '../engine/types.ts';
import type { EvasionKind } from './evasion/kinds.ts';
import type { Decision, Policy } from './policy.ts';

export interface ModerateRequest extends ClassifyRequest {
  /** Name of a policy; the one named `default` if absent. */
  readonly policy?: string | undefined;
}

export const REASON_CODES = [
  /** A score is at or above the policy's `block` threshold. */
  'block_threshold',
  /** A score is at or above the policy's `review` threshold. */
  'review_threshold',
  /** The mean gate is above the policy's percentile: the base model alone could not tell. */
  'high_gates',
  /** The text holds a kind of disguise that the policy sends to review. */
  'evasion',
  /** The text is in a language that a model of the policy was not made for. */
  'unlisted_language',
] as const;

/** One thing that is enough for the decision. Codes, names and numbers only, never what a text says. */
export interface Reason {
  readonly code: (typeof REASON_CODES)[number];
  /** Name of the model whose number it was. */
  readonly model?: string;
  /** The label that was too probable; absent when it was the sum over all offensive ones. */
  readonly label?: string;
  /** What was measured, and what it was held against. */
  readonly value?: number;
  readonly threshold?: number;
  /** The number is that of the folded text. */
  readonly folded?: true;
  readonly kinds?: EvasionKind[];
}

export interface Evasion {
  /** How many places of each kind of disguise the text holds; kinds without any are absent. */
  readonly kinds: Readonly<Partial<Record<EvasionKind, number>>>;
  /** Whether the answer is that of the text with disguises undone: it was decided on more gravely, or scored higher. */
  readonly folded: boolean;
  /** With `folded`: `offensive` of the text as it was sent. */
  readonly offensiveAsSent?: number;
}

export interface Language {
  /** ISO 639-1 code; null when the detector is not sure. */
  readonly detected: string | null;
  /** Whether every model that decided lists the language; null when the detector is not sure. */
  readonly supported: boolean | null;
}

/** What one model of the policy said of one form of a text. */
export interface Reading {
  readonly model: ServedModel;
  readonly result: Pick<TextResult, 'probabilities' | 'gates'>;
  /** Whether that form is the folded one. */
  readonly folded: boolean;
}

/** One form of a text, read by every model of the policy, in its order. */
export type Form<R extends Reading = Reading> = readonly [R, ...R[]];

/** As sent, and with disguises undone where that is another text and every model can answer it. */
export type Forms<R extends Reading = Reading> = readonly [Form<R>, ...Form<R>[]];

export type TextReading = Reading & { readonly result: TextResult };

/** The answer of the first model, and the decision over all of them. */
export interface ModeratedText extends TextResult {
  readonly decision: Decision;
  /** Empty exactly when the decision is `allow`. */
  readonly reasons: readonly Reason[];
  readonly evasion: Evasion;
  /** Absent when languages are not looked at. */
  readonly language?: Language;
  /** What the further models of the policy said, in its order. */
  readonly others: readonly TextReading[];
  /** All that the decision was made from. */
  readonly forms: Forms<TextReading>;
}

/** `model` and the results' own numbers are those of the policy's first model. */
export interface Moderation<Result = ModeratedText | EngineError> extends Classification<Result> {
  readonly policy: Policy;
}

export type ModerationErrorCode =
  /** There is no policy of that name. */
  | 'unknown_policy'
  /** The request names a model, and the policy names its own. */
  | 'model_and_policy'
  /** The policy has a threshold for a label that the model does not have. */
  | 'policy_unfit';

export class ModerationError extends Error {
  override readonly name = 'ModerationError';
  readonly code: ModerationErrorCode;

  constructor(code: ModerationErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Moderator {
  /** Every policy, by name. */
  policies(): readonly Policy[];
  /**
   * Classifies texts with the models of a policy, and decides.
   * Texts fail alone: a text that one of the models cannot answer has that model's EngineError.
   *
   * @throws ModerationError
   * @throws EngineError with what concerns the whole request, as `Engine.classifyEach` does
   */
  moderate(request: ModerateRequest): Promise<Moderation>;
}
