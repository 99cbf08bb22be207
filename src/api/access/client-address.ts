/** Whom a limit by address is about. */
import { isIP } from 'node:net';

/**
 * Of IPv6 the network of 64 bits, which is what one household or machine is given: each of its addresses would otherwise be
 * a client of its own.
 *
 * @param ip as a proxy may have said it, and so perhaps no address
 * @param peer address of the connection
 */
export function clientAddress(ip: string, peer: string | undefined): string {
  const address = isIP(ip) !== 0 ? ip : (peer ?? 'unknown');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (isIP(address) !== 6) return address;
  // As a URL has it: lower case, no zeros in front, an address of version 4 at the end in hexadecimal.
  const plain = new URL(`http://[${address.split('%', 1)[0]}]/`).hostname.slice(1, -1);
  const [before = '', after] = plain.split('::');
  const front = before === '' ? [] : before.split(':');
  const back = after === undefined || after === '' ? [] : after.split(':');
  const groups = [...front, ...new Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0'), ...back];
  return `${groups.slice(0, 4).join(':')}::/64`;
}
