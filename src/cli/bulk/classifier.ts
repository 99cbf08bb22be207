/** Who answers: the engine in this process, or a service. */
import type { ClassifyResult } from '../../api/classify-response.ts';
import type { GateView, ModelColumns } from './answer-columns.ts';

/** What a table shows of an answer; the service's says more. */
export type Answer = Pick<ClassifyResult, 'label' | 'score' | 'offensive' | 'flagged' | 'probabilities' | 'gates'> &
  // Where a policy decides.
  Partial<Pick<ClassifyResult, 'decision'>>;
/** The code of a problem document, or what became of the text. */
export type Outcome = Answer | { readonly error: { readonly code: string } };

export interface Classifier {
  readonly model: ModelColumns & {
    readonly name: string;
    readonly version: string;
    /** When it was made: a model may be made again under the same version. */
    readonly createdAt: string;
  };
  /** Most texts, and UTF-16 units, of one call; a single text may be longer. */
  readonly limits: { readonly texts: number; readonly characters: number };
  /**
   * @returns one for each text, in order
   * @throws Error when nothing was answered
   */
  classify(texts: readonly string[], signal: AbortSignal): Promise<readonly Outcome[]>;
  close(): Promise<void>;
}

export interface ClassifierOptions {
  readonly model: string | undefined;
  readonly policy: string | undefined;
  readonly threshold: number | 'balanced' | 'high-precision' | 'high-recall';
  readonly gates: GateView;
}
