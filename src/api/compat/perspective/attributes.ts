/** Which attributes of a request are scored, and how the others are answered. */
import type { ServedModel } from '../../../engine/types.ts';
import type { Attributes } from '../attributes.ts';
import { perspectiveError } from './google-error.ts';
import { KNOWN_ATTRIBUTES } from './known-attributes.ts';
import type { Language } from './language.ts';
import type { AnalyzeRequest } from './messages.ts';

/** An attribute that the model answers. */
export interface ScoredAttribute {
  /** As requested, a version included. */
  readonly name: string;
  /** Columns of `probabilities` whose sum is the score. */
  readonly columns: readonly number[];
  /** Lower scores are left out. */
  readonly threshold: number;
}

/** TOXICITY@6 asks for one version of a model. There are no such versions here, so it is the attribute itself. */
const NAME = /^([A-Z][A-Z0-9_]{0,63})(?:@\d{1,9})?$/;

/**
 * @throws GoogleError as Perspective has it: a name that is no attribute; a score that is no probability; an attribute
 *   that is not scored in the comment's language, unless the request wants those dropped
 */
export function scoredAttributes(
  request: Pick<AnalyzeRequest, 'requestedAttributes' | 'dropUnsupportedAttributes'>,
  model: ServedModel,
  attributes: Attributes,
  language: Language,
): ScoredAttribute[] {
  const scored = attributes.of(model, 'perspective');
  return Object.entries(request.requestedAttributes).flatMap(
    ([name, { scoreType = 'PROBABILITY', scoreThreshold = 0 }]) => {
      const attribute = NAME.exec(name)?.[1];
      const columns = scored.get(attribute ?? '');
      if (attribute === undefined || (columns === undefined && !KNOWN_ATTRIBUTES.includes(attribute))) {
        throw perspectiveError(
          'INVALID_REQUEST',
          `Unknown requested attribute${attribute === undefined ? '' : `: ${name}`}`,
        );
      }
      if (scoreType !== 'PROBABILITY' && scoreType !== 'SCORE_TYPE_UNSPECIFIED') {
        const message = `Requested score type ${scoreType} is not supported by attribute ${name}`;
        throw perspectiveError('INVALID_REQUEST', message);
      }
      if (columns !== undefined && language.supported) return [{ name, columns, threshold: scoreThreshold }];
      if (request.dropUnsupportedAttributes) return [];
      throw unsupported(name, language);
    },
  );
}

function unsupported(attribute: string, { used, detected, requested }: Language) {
  return perspectiveError(
    'LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE',
    `Attribute ${attribute} does not support request languages: ${used.join(', ')}`,
    {
      languageNotSupportedByAttributeError: {
        ...(requested === undefined ? { detectedLanguages: detected ?? used } : { requestedLanguages: requested }),
        attribute,
      },
    },
  );
}
