/**
 * Every error of the native API: one table of stable codes, and the RFC 9457 problem document made from an entry.
 * docs/errors.md is generated from this table (`npm run docs`).
 */
import { type Static, Type } from 'typebox';

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** What the caller should do about it. */
  readonly remedy: string;
}

export const PROBLEMS = {
  bad_request: {
    status: 400,
    title: 'The request is not valid HTTP, or its address cannot be read',
    remedy: 'Repair the client; a proxy between may also have cut the request.',
  },
  invalid_json: {
    status: 400,
    title: 'The body is not JSON',
    remedy: 'Send one JSON object as the body.',
  },
  invalid_utf8: {
    status: 400,
    title: 'The body is not UTF-8',
    remedy: 'Encode the body as UTF-8.',
  },
  invalid_body: {
    status: 400,
    title: 'The body is not a JSON object',
    remedy: 'Send one JSON object with `text` or `texts`.',
  },
  missing_text: {
    status: 400,
    title: 'Neither `text` nor `texts` is given',
    remedy: 'Send one of the two.',
  },
  text_and_texts: {
    status: 400,
    title: 'Both `text` and `texts` are given',
    remedy: 'Send one of the two.',
  },
  invalid_type: {
    status: 400,
    title: '`text` must be a string, `texts` a list of strings',
    remedy: 'Send strings; nothing is converted.',
  },
  no_texts: {
    status: 400,
    title: '`texts` is empty',
    remedy: 'Send at least one text.',
  },
  too_many_texts: {
    status: 400,
    title: '`texts` has more entries than one request may',
    remedy: 'Send several requests, or raise MAX_TEXTS.',
  },
  too_many_to_explain: {
    status: 400,
    title: '`explain` is asked for more texts than one request may have explained',
    remedy: 'Send fewer texts with `explain`, or raise EXPLAIN_TEXTS.',
  },
  text_too_long: {
    status: 400,
    title: 'A text has more characters than a text may',
    remedy: 'Divide the text, or raise MAX_TEXT_CHARS.',
  },
  unknown_option: {
    status: 400,
    title: 'An option is unknown',
    remedy: 'Remove it or correct its name; unknown options are never ignored.',
  },
  invalid_option: {
    status: 400,
    title: 'An option has a value that it cannot take',
    remedy: 'Send one of the values that `detail` names.',
  },
  invalid_header: {
    status: 400,
    title: 'A header has a value that it cannot take',
    remedy: 'Send what `detail` says, or leave the header out.',
  },
  unauthorized: {
    status: 401,
    title: 'The key is missing or wrong',
    remedy: 'Send `Authorization: Bearer <key>` or `X-API-Key: <key>` with a key that may do this.',
  },
  forbidden: {
    status: 403,
    title: 'The key may not do this',
    remedy: 'Send a key with the scope that `detail` names.',
  },
  rate_limited: {
    status: 429,
    title: 'The client has sent more than it may in this time',
    remedy: 'Send the request again after the seconds in `Retry-After`; `RateLimit` says what is left.',
  },
  model_and_policy: {
    status: 400,
    title: 'Both `model` and a `policy` that names its models are given',
    remedy: 'Leave out `model`, or take a policy without models of its own.',
  },
  unknown_policy: {
    status: 404,
    title: 'No policy has that name',
    remedy: 'Take a name from `GET /policies`.',
  },
  policy_unfit: {
    status: 409,
    title: 'The policy asks for what its model does not have',
    remedy: 'Take another model or policy, or correct the file of the policy.',
  },
  unknown_model: {
    status: 404,
    title: 'No served model has that name',
    remedy: 'Take a name from `GET /models`.',
  },
  not_found: {
    status: 404,
    title: 'Nothing is at this path',
    remedy: 'See `/docs` for the paths there are.',
  },
  unknown_bundle: {
    status: 404,
    title: 'MODELS_DIR has no bundle in a folder of that name',
    remedy: 'Take a folder from `GET /admin/bundles`.',
  },
  method_not_allowed: {
    status: 405,
    title: 'This path does not take this method',
    remedy: 'Use a method of the `Allow` header.',
  },
  request_timeout: {
    status: 408,
    title: 'The request took too long to arrive',
    remedy: 'Send it again, or raise REQUEST_TIMEOUT_MS.',
  },
  model_needed: {
    status: 409,
    title: 'The model cannot be unloaded, because something needs it',
    remedy: 'Change the setting that `detail` names, or load what is to take its place first.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is larger than a body may be',
    remedy: 'Send fewer texts in a request, or raise BODY_LIMIT_BYTES.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body is not sent as JSON',
    remedy: 'Send `Content-Type: application/json`, in UTF-8 and without `Content-Encoding`.',
  },
  empty_after_normalization: {
    status: 422,
    title: 'Nothing is left of a text to classify',
    remedy: 'Do not send texts that are empty or have only invisible characters.',
  },
  invalid_unicode: {
    status: 422,
    title: 'A text is not valid Unicode',
    remedy: 'Remove lone surrogates; they often come from a text that was cut within an emoji.',
  },
  bundle_refused: {
    status: 422,
    title: 'The bundle is not fit to be served',
    remedy: 'Repair what `detail` names. What the folder served before goes on serving.',
  },
  overloaded: {
    status: 429,
    title: 'More is waiting than the service takes on',
    remedy: 'Send the request again after the seconds in `Retry-After`.',
  },
  headers_too_large: {
    status: 431,
    title: 'The headers are larger than headers may be',
    remedy: 'Send fewer or shorter headers.',
  },
  internal_error: {
    status: 500,
    title: 'The service made a mistake',
    remedy: 'Send the request again; if it fails again, report it with its `requestId`.',
  },
  models_unreadable: {
    status: 500,
    title: 'MODELS_DIR cannot be read, so nothing was changed',
    remedy: 'Check that the folder is there and mounted; what serves goes on serving.',
  },
  inference_failed: {
    status: 503,
    title: 'The model could not be run on this request',
    remedy: 'Send the request again; if it fails again, report it with its `requestId`.',
  },
  quarantined: {
    status: 422,
    title: 'A text has ended model processes before and is not run again',
    remedy: 'Do not send this text again, and report it with its `requestId`.',
  },
  deadline_exceeded: {
    status: 504,
    title: 'The request was not answered in time',
    remedy: 'Send it again later, or allow more time with `X-Request-Timeout-Ms`.',
  },
  not_enabled: {
    status: 501,
    title: 'What this path does is turned off',
    remedy: 'Set the settings that `detail` names.',
  },
  not_ready: {
    status: 503,
    title: 'No model is ready to answer',
    remedy: 'Wait; the process is starting or its workers are being replaced.',
  },
  shutting_down: {
    status: 503,
    title: 'The service is shutting down',
    remedy: 'Send the request to another instance.',
  },
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof PROBLEMS;

/** What is known of one error beyond its kind. */
export interface ProblemDetails {
  /** Says what is wrong here. Never repeats what a text says. */
  readonly detail?: string;
  /** JSON Pointer (RFC 6901) into the body. */
  readonly pointer?: string;
  /** Extra response headers, lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer that is an error; thrown by whoever finds it, written by the error handler. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: ProblemCode;
  readonly details: ProblemDetails;

  constructor(code: ProblemCode, details: ProblemDetails = {}) {
    super(details.detail ?? PROBLEMS[code].title);
    this.code = code;
    this.details = details;
  }
}

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'URN of the kind of problem' }),
    title: Type.String({ description: 'The kind of problem, in words' }),
    status: Type.Integer({ description: 'The HTTP status' }),
    code: Type.String({ description: 'Stable name of the kind of problem: what programs should look at' }),
    detail: Type.Optional(Type.String({ description: 'What is wrong with this request. Never repeats a text.' })),
    pointer: Type.Optional(Type.String({ description: 'Where in the body, as a JSON Pointer' })),
    remedy: Type.String({ description: 'What the caller should do' }),
    requestId: Type.Optional(Type.String({ description: 'As in the header `X-Request-Id` and in the log' })),
  },
  { $id: 'Problem', additionalProperties: false, description: 'RFC 9457 problem document' },
);

/** The body of an error answer. */
export function problemDocument(problem: Problem, requestId?: string): Static<typeof ProblemSchema> {
  const { status, title, remedy } = PROBLEMS[problem.code];
  const { detail, pointer } = problem.details;
  return {
    type: `urn:ds-lora:problem:${problem.code}`,
    title,
    status,
    code: problem.code,
    ...(detail === undefined ? {} : { detail }),
    ...(pointer === undefined ? {} : { pointer }),
    remedy,
    ...(requestId === undefined ? {} : { requestId }),
  };
}

/** The table of docs/errors.md, in Markdown. */
export function problemTable(): string {
  const rows = Object.entries<ProblemKind>(PROBLEMS).map(
    ([code, { status, title, remedy }]) => `| \`${code}\` | ${status} | ${title} | ${remedy} |`,
  );
  return ['| code | status | what is wrong | what to do |', '|---|---|---|---|', ...rows].join('\n');
}
