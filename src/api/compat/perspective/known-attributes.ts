/** Every attribute that Perspective has scored in some language; it answers any other name as unknown. */
const CURRENT = ['TOXICITY', 'SEVERE_TOXICITY', 'IDENTITY_ATTACK', 'INSULT', 'PROFANITY', 'THREAT'] as const;

/** From one source of comments, or otherwise not for production. */
const EXPERIMENTAL = [
  'SEXUALLY_EXPLICIT',
  'FLIRTATION',
  'ATTACK_ON_AUTHOR',
  'ATTACK_ON_COMMENTER',
  'ATTACK_ON_PUBLISHER',
  'INCOHERENT',
  'INFLAMMATORY',
  'LIKELY_TO_REJECT',
  'OBSCENE',
  'OFF_TOPIC',
  'SPAM',
  'UNSUBSTANTIAL',
  'TOXICITY_FAST',
] as const;

/** What makes a conversation better or worse; the names end in _EXPERIMENTAL. */
const BRIDGING = [
  'AFFINITY',
  'COMPASSION',
  'CONSTRUCTIVE',
  'CURIOSITY',
  'NUANCE',
  'PERSONAL_STORY',
  'REASONING',
  'RESPECT',
  'ALIENATION',
  'FEARMONGERING',
  'GENERALIZATION',
  'MORAL_OUTRAGE',
  'POWER_APPEAL',
  'SCAPEGOATING',
] as const;

export const KNOWN_ATTRIBUTES: readonly string[] = [
  ...CURRENT,
  ...EXPERIMENTAL,
  ...[...CURRENT, ...BRIDGING].map((name) => `${name}_EXPERIMENTAL`),
];
