/**
 * Every setting of the service: environment name, unit, default and doc, in one table.
 * The README's table is generated from it (`npm run docs`), so a setting cannot be without documentation.
 */
import {
  address,
  choice,
  entries,
  integer,
  list,
  networks,
  origins,
  type Setting,
  type SettingValue,
  text,
} from './config/setting.ts';
import { LOG_LEVELS } from './observability/log-level.ts';

const NAME = '[A-Za-z0-9][A-Za-z0-9_.-]{0,63}';
type Shadows = readonly { readonly model: string; readonly shadow: string; readonly share: number }[];

/** A model's name, with or without a version. */
const REFERENCE = `${NAME}(?:@[A-Za-z0-9][A-Za-z0-9_.+-]{0,63})?`;
const ALIAS = new RegExp(`^(${NAME})=(${REFERENCE})$`);
const SHADOW = new RegExp(`^(${REFERENCE})=(${REFERENCE}):(0\\.\\d{1,6}|1(?:\\.0{1,6})?)$`);

export const SETTINGS = {
  host: text({ env: 'HOST', fallback: '0.0.0.0', doc: 'Address to listen on' }),
  port: integer({
    env: 'PORT',
    min: 0,
    max: 65_535,
    fallback: 8080,
    doc: 'Port to listen on; 0 takes any free one',
  }),
  modelsDir: text({ env: 'MODELS_DIR', fallback: 'models', doc: 'Folder with one bundle in each subfolder' }),
  defaultModel: text<string | undefined>({
    env: 'DEFAULT_MODEL',
    fallback: undefined,
    fallbackDoc: 'first by name',
    accepts: 'the name of a served model',
    doc: 'Model that answers when a request names none: a name, an alias or `name@version`',
  }),
  aliases: {
    env: 'ALIASES',
    fallback: new Map(),
    fallbackDoc: 'none',
    accepts: 'alias=name or alias=name@version, separated by commas, no alias twice',
    doc: 'Other names for models, as `stable=olid-minilm@1.0.1`; an alias with the name of a model pins it to a version',
    read(value) {
      const found = entries(value, ALIAS);
      const aliases = new Map(found?.map(([, alias = '', target = '']) => [alias, target]));
      return found !== undefined && aliases.size === found.length ? aliases : undefined;
    },
  } satisfies Setting<ReadonlyMap<string, string>> as Setting<ReadonlyMap<string, string>>,
  shadows: {
    env: 'SHADOW',
    fallback: [],
    fallbackDoc: 'none',
    accepts: 'model=other:share, separated by commas, the share from 0 to 1',
    doc: 'A share of the texts of one model that a second one classifies too, to compare them in the metrics, as `stable=olid-minilm@1.1.0:0.1`',
    read: (value) =>
      entries(value, SHADOW)?.map(([, model = '', shadow = '', share]) => ({ model, shadow, share: Number(share) })),
  } satisfies Setting<Shadows> as Setting<Shadows>,
  modelsPollMs: integer({
    env: 'MODELS_POLL_MS',
    unit: 'ms',
    min: 0,
    max: 3_600_000,
    fallback: 2_000,
    doc: 'How often MODELS_DIR, POLICIES_DIR, API_KEYS_FILE and the TLS files are looked at for what came, changed or went; with 0 all of it is read again on SIGHUP only, models and policies also by the admin routes',
  }),
  driftWindowTexts: integer({
    env: 'DRIFT_WINDOW_TEXTS',
    unit: 'texts',
    min: 0,
    max: 100_000,
    fallback: 2_000,
    doc: 'How many of the last texts of each model are held against its development split (docs/drift.md); 0 switches that off',
  }),
  driftWindowMinutes: integer({
    env: 'DRIFT_WINDOW_MINUTES',
    unit: 'minutes',
    min: 1,
    max: 44_640,
    fallback: 1_440,
    doc: 'After which a text does not count for drift any more',
  }),
  driftMinTexts: integer({
    env: 'DRIFT_MIN_TEXTS',
    unit: 'texts',
    min: 1,
    max: 100_000,
    fallback: 500,
    doc: 'With fewer texts no drift is told, since it would be noise; at most DRIFT_WINDOW_TEXTS',
  }),
  tracesEndpoint: address<string | undefined>({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    fallback: undefined,
    fallbackDoc: 'no traces',
    doc: 'Where traces are sent, by OTLP over HTTP as JSON (docs/observability.md); other variables of OpenTelemetry hold beside it',
  }),
  tracesOff: choice({
    env: 'OTEL_SDK_DISABLED',
    values: ['true', 'false'],
    fallback: 'false',
    doc: '`true`: no traces, whatever the endpoint',
  }),
  executionProvider: choice({
    env: 'EXECUTION_PROVIDER',
    values: ['auto', 'cpu', 'cuda'],
    fallback: 'auto',
    doc: 'Where graphs run; `auto` tries CUDA and takes the CPU when that fails',
  }),
  cudaDevice: integer({
    env: 'CUDA_DEVICE_ID',
    min: 0,
    max: 255,
    fallback: 0,
    doc: 'Which CUDA device runs graphs; its memory cannot be bounded from here',
  }),
  logLevel: choice({
    env: 'LOG_LEVEL',
    values: LOG_LEVELS,
    fallback: 'info',
    doc: 'Least severe lines to log; health checks and scrapes are logged at `debug`. SIGUSR2 switches to `debug` and back',
  }),
  maxTexts: integer({
    env: 'MAX_TEXTS',
    unit: 'texts',
    min: 1,
    max: 10_000,
    fallback: 256,
    doc: 'Most texts in one request',
  }),
  maxTextChars: integer({
    env: 'MAX_TEXT_CHARS',
    unit: 'characters',
    min: 1,
    max: 10_000_000,
    fallback: 20_000,
    doc: 'Longest text, in Unicode code points',
  }),
  explainTexts: integer({
    env: 'EXPLAIN_TEXTS',
    unit: 'texts',
    min: 0,
    max: 1_000,
    fallback: 4,
    doc: 'Most texts in a request with `explain`; 0 switches explanations off',
  }),
  explainWords: integer({
    env: 'EXPLAIN_WORDS',
    unit: 'words',
    min: 1,
    max: 1_000,
    fallback: 64,
    doc: 'Most times that one text is classified again to explain it; in longer texts words are taken together',
  }),
  bodyLimitBytes: integer({
    env: 'BODY_LIMIT_BYTES',
    unit: 'bytes',
    min: 1_024,
    max: 268_435_456,
    fallback: 1_048_576,
    doc: 'Largest request body',
  }),
  requestTimeoutMs: integer({
    env: 'REQUEST_TIMEOUT_MS',
    unit: 'ms',
    min: 1_000,
    max: 3_600_000,
    fallback: 30_000,
    doc: 'Longest time a client may take to send a request, and to take an answer',
  }),
  headersTimeoutMs: integer({
    env: 'HEADERS_TIMEOUT_MS',
    unit: 'ms',
    min: 1_000,
    max: 3_600_000,
    fallback: 10_000,
    doc: 'Longest time a client may take to send the headers of a request; also for a connection that says nothing',
  }),
  keepAliveMs: integer({
    env: 'KEEP_ALIVE_MS',
    unit: 'ms',
    min: 1_000,
    max: 3_600_000,
    fallback: 72_000,
    doc: 'How long a connection without a request stays open; longer than a load balancer in front keeps it',
  }),
  maxHeaderBytes: integer({
    env: 'MAX_HEADER_BYTES',
    unit: 'bytes',
    min: 1_024,
    max: 1_048_576,
    fallback: 16_384,
    doc: 'Largest headers of a request, the address included',
  }),
  maxConnections: integer({
    env: 'MAX_CONNECTIONS',
    unit: 'connections',
    min: 1,
    max: 1_000_000,
    fallback: 10_000,
    doc: 'Most connections to a port at once; what comes on top is closed',
  }),
  adminKey: text<string | undefined>({
    env: 'ADMIN_KEY',
    fallback: undefined,
    fallbackDoc: 'none',
    sensitive: true,
    doc: 'Key with the scope `admin`, for the routes that change what the service does; without any key they do not exist',
  }),
  apiKeys: text<string | undefined>({
    env: 'API_KEYS',
    fallback: undefined,
    fallbackDoc: 'none',
    sensitive: true,
    doc: 'Keys that clients need (docs/security.md), as `name=scope+scope:sha256`, separated by commas; `npm run key` makes one. Without keys everybody may classify and read metrics',
  }),
  apiKeysFile: text<string | undefined>({
    env: 'API_KEYS_FILE',
    fallback: undefined,
    fallbackDoc: 'none',
    accepts: 'a path',
    doc: 'The same, one key a line; watched as MODELS_DIR is and read again on SIGHUP. A file with mistakes leaves the present keys',
  }),
  rateLimitRequests: integer({
    env: 'RATE_LIMIT_REQUESTS',
    unit: 'requests',
    min: 0,
    max: 1_000_000_000,
    fallback: 0,
    fallbackDoc: 'no limit',
    doc: 'Most requests in RATE_LIMIT_SECONDS of one key, or of one address where no key is needed',
  }),
  rateLimitTexts: integer({
    env: 'RATE_LIMIT_TEXTS',
    unit: 'texts',
    min: 0,
    max: 1_000_000_000,
    fallback: 0,
    fallbackDoc: 'no limit',
    doc: 'The same for texts to classify',
  }),
  rateLimitSeconds: integer({
    env: 'RATE_LIMIT_SECONDS',
    unit: 's',
    min: 1,
    max: 86_400,
    fallback: 60,
    doc: 'Time in which a used up limit is whole again',
  }),
  trustProxy: networks({
    env: 'TRUST_PROXY',
    doc: 'Proxies whose `X-Forwarded-For`, `-Host` and `-Proto` are believed: addresses and networks like `10.0.0.0/8`, separated by commas',
  }),
  opsPort: integer<number | undefined>({
    env: 'OPS_PORT',
    min: 0,
    max: 65_535,
    fallback: undefined,
    fallbackDoc: 'none',
    doc: 'Port of its own for metrics and administration, which PORT then does not have; health checks are on both',
  }),
  opsHost: text<string | undefined>({
    env: 'OPS_HOST',
    fallback: undefined,
    fallbackDoc: 'as HOST',
    doc: 'Address to listen on with OPS_PORT',
  }),
  corsOrigins: origins({
    env: 'CORS_ORIGINS',
    doc: 'Pages of other sites that may call the service from a browser: origins like `https://forum.example.org`, separated by commas, or `*` for all',
  }),
  tlsCertFile: text<string | undefined>({
    env: 'TLS_CERT_FILE',
    fallback: undefined,
    fallbackDoc: 'plain HTTP',
    accepts: 'a path',
    doc: 'Certificate and its chain, PEM; with TLS_KEY_FILE the service speaks HTTPS, TLS 1.2 or later, on all its ports. Both are watched and read again on SIGHUP',
  }),
  tlsKeyFile: text<string | undefined>({
    env: 'TLS_KEY_FILE',
    fallback: undefined,
    fallbackDoc: 'plain HTTP',
    accepts: 'a path',
    doc: 'Private key of the certificate, PEM without a passphrase',
  }),
  compat: list({
    env: 'COMPAT',
    values: ['perspective', 'openai', 'tei', 'vllm', 'kserve'],
    doc: 'Foreign protocols that are spoken, separated by commas; `none` for the native API alone',
  }),
  attributesFile: text<string | undefined>({
    env: 'ATTRIBUTES_FILE',
    fallback: undefined,
    fallbackDoc: "the bundles' own",
    doc: 'JSON file that maps labels to Perspective attributes and OpenAI categories, by model',
  }),
  feedbackFile: text<string | undefined>({
    env: 'FEEDBACK_FILE',
    fallback: undefined,
    fallbackDoc: 'none',
    doc: 'JSON Lines file that `comments:suggestscore` appends to; needs a key with the scope `admin` too, which is the one to send',
  }),
  feedbackMaxBytes: integer({
    env: 'FEEDBACK_MAX_BYTES',
    unit: 'bytes',
    min: 1_024,
    max: 1_099_511_627_776,
    fallback: 1_073_741_824,
    doc: 'Largest size of FEEDBACK_FILE; what would make it larger is refused',
  }),
  publicUrl: address<string | undefined>({
    env: 'PUBLIC_URL',
    fallback: undefined,
    fallbackDoc: 'where a request was sent',
    doc: "Address at which clients reach the service; set it behind a proxy for Google's clients, which read it from the discovery document",
  }),
  calibrationFile: text<string | undefined>({
    env: 'CALIBRATION_FILE',
    fallback: undefined,
    fallbackDoc: 'none',
    accepts: 'a path',
    doc: 'What `npm run calibrate` measured on this machine: workers, threads and batch size where they are not set; ignored with a warning where it was measured on another machine or with other models',
  }),
  policiesDir: text<string | undefined>({
    env: 'POLICIES_DIR',
    fallback: undefined,
    fallbackDoc: 'only the built-in policy',
    accepts: 'a path',
    doc: 'Folder whose `*.json` files are policies (docs/policies.md); watched and read again as MODELS_DIR is',
  }),
  languageDetection: choice({
    env: 'LANGUAGE_DETECTION',
    values: ['on', 'off'],
    fallback: 'on',
    doc: 'Whether answers say which language a text is in and whether the model was made for it; costs 0.1 to 0.2 ms a text and 25 MB',
  }),
  workers: integer<number | undefined>({
    env: 'WORKERS',
    unit: 'processes',
    min: 1,
    max: 1_024,
    fallback: undefined,
    fallbackDoc: 'as calibrated; else one a usable core, or 1 for graphs over 300 MB',
    doc: 'Inference processes; several with one thread each suit small models',
  }),
  threads: integer<number | undefined>({
    env: 'THREADS',
    unit: 'threads',
    min: 1,
    max: 1_024,
    fallback: undefined,
    fallbackDoc: 'as calibrated; else usable cores / workers',
    doc: 'Threads of each inference process',
  }),
  batchTokens: integer({
    env: 'BATCH_TOKENS',
    unit: 'tokens',
    min: 8,
    max: 1_048_576,
    fallback: 192,
    fallbackDoc: 'as calibrated; else `192` tokens',
    doc: 'Largest batch, padding counted; a single window may be larger',
  }),
  batchWindows: integer({
    env: 'BATCH_WINDOWS',
    unit: 'windows',
    min: 1,
    max: 4_096,
    fallback: 64,
    doc: 'Most windows in a batch',
  }),
  answerTimeoutMs: integer({
    env: 'ANSWER_TIMEOUT_MS',
    unit: 'ms',
    min: 1,
    max: 9_999_999,
    fallback: 10_000,
    doc: 'Longest time a request may take once it was read, where its header `X-Request-Timeout-Ms` does not say otherwise',
  }),
  queueWaitMs: integer({
    env: 'QUEUE_WAIT_MS',
    unit: 'ms',
    min: 1,
    max: 3_600_000,
    fallback: 250,
    doc: 'Longest wait, as measured speeds foretell it, with which an interactive request is taken on; others are refused as `overloaded`',
  }),
  cacheBytes: integer({
    env: 'CACHE_BYTES',
    unit: 'bytes',
    min: 0,
    max: 1_099_511_627_776,
    fallback: 0,
    doc: 'Memory for answers to texts that come again, about; 0 keeps none',
  }),
  queueWindows: integer({
    env: 'QUEUE_WINDOWS',
    unit: 'windows',
    min: 1,
    max: 1_048_576,
    fallback: 2_048,
    doc: 'Most windows that wait; what comes on top is refused as `overloaded`',
  }),
  queueTokens: integer({
    env: 'QUEUE_TOKENS',
    unit: 'tokens',
    min: 1,
    max: 1_073_741_824,
    fallback: 65_536,
    doc: 'Most tokens that wait for inference',
  }),
  queueCharacters: integer({
    env: 'QUEUE_CHARACTERS',
    unit: 'characters',
    min: 1,
    max: 1_073_741_824,
    fallback: 2_000_000,
    doc: 'Most characters that wait for a tokenizer',
  }),
  workerTimeoutMs: integer({
    env: 'WORKER_TIMEOUT_MS',
    unit: 'ms',
    min: 100,
    max: 3_600_000,
    fallback: 30_000,
    doc: 'A child process that answers a batch no sooner is replaced',
  }),
  loadTimeoutMs: integer({
    env: 'LOAD_TIMEOUT_MS',
    unit: 'ms',
    min: 1_000,
    max: 3_600_000,
    fallback: 120_000,
    doc: 'The same while a model is loaded and tried',
  }),
  drainDelayMs: integer({
    env: 'DRAIN_DELAY_MS',
    unit: 'ms',
    min: 0,
    max: 600_000,
    fallback: 5_000,
    doc: 'After SIGTERM, how long requests are still served so that a load balancer can look away',
  }),
} as const satisfies Record<string, Setting<SettingValue>>;

export type Config = {
  readonly [Key in keyof typeof SETTINGS]: (typeof SETTINGS)[Key] extends Setting<infer T> ? T : never;
};

/** All settings that are wrong, one line each. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/**
 * Reads every setting from the environment. An empty variable counts as unset.
 *
 * @throws ConfigError that lists all wrong settings at once
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const problems: string[] = [];
  const entries = Object.entries<Setting<SettingValue>>(SETTINGS).map(([key, setting]) => {
    const raw = env[setting.env]?.trim();
    if (raw === undefined || raw === '') return [key, setting.fallback];
    const value = setting.read(raw);
    if (value === undefined) {
      const got = setting.sensitive ? 'something else' : JSON.stringify(raw);
      problems.push(`${setting.env} must be ${setting.accepts}, got ${got}`);
    }
    return [key, value];
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.fromEntries(entries) as Config;
}

/** Whether a setting stands in the environment, so that a measured or derived value must not take its place. */
export function isSet(key: keyof typeof SETTINGS, env: Readonly<Record<string, string | undefined>>): boolean {
  return (env[SETTINGS[key].env]?.trim() ?? '') !== '';
}

/** The configuration table of the README, in Markdown. */
export function configTable(): string {
  const rows = Object.values<Setting<SettingValue>>(SETTINGS).map((setting) => {
    const unit = setting.unit === undefined ? '' : ` ${setting.unit}`;
    const fallback = setting.fallbackDoc ?? `\`${setting.fallback}\`${unit}`;
    return `| \`${setting.env}\` | ${fallback} | ${setting.doc} |`;
  });
  return ['| variable | default | what it does |', '|---|---|---|', ...rows].join('\n');
}
