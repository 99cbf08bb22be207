/**
 * Headers that tell browsers what not to do with an answer. A table rather than a plugin: pages with a policy of their own
 * (the playground, `/docs`) overwrite what is said here, and everything else is data.
 */
export const HEADERS_OF_ALL = {
  'x-content-type-options': 'nosniff',
  // Data is no page: nothing in it may run, and no page may show it as its own.
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
} as const;
