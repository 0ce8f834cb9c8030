import { isIP } from "node:net";
import { networkInterfaces } from "node:os";

/** An address or a network, as bits: 4 bytes of IPv4 or 16 of IPv6. */
interface Network {
  readonly bytes: readonly number[];
  /** How many leading bits count. */
  readonly bits: number;
}

/**
 * Networks outside of the public internet: this host, private networks, link-local, carrier-grade NAT (RFC
 * 6598), documentation, benchmarks, multicast, reserved ones, and the public address of a cloud's metadata
 * service.
 */
const REFUSED: readonly Network[] = networksIn(
  `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16 169.254.0.0/16 172.16.0.0/12
   192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24
   203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
   2001::/23 2001:db8::/32 2002::/16 3fff::/20`,
);

/** The part of IPv6 that is assigned to the public internet; all else is refused. */
const PUBLIC_IPV6: readonly Network[] = networksIn("2000::/3");

/** IPv4 addresses written as IPv6 (RFC 4291, 6052): the last four bytes are the IPv4 address. */
const MAPPED: readonly Network[] = networksIn("::ffff:0:0/96 64:ff9b::/96");

/** Whether an address (as a resolver writes it) may be connected to. */
export type IsAllowed = (address: string, host: string) => boolean;

/**
 * Allows the public internet and the hosts, addresses and networks (`10.0.0.0/8`) of the list. A host on the
 * list may resolve to anything. Public addresses of this machine (`own`) are refused too, for IPv6 with the
 * network around them, whose neighbours may trust this machine.
 */
export function createAllowance(list: readonly string[], own = ownAddresses): IsAllowed {
  const words = list.map((word) => word.trim().toLowerCase()).filter((word) => word !== "");
  const networks = words.map(networkOf).filter((network) => network !== undefined);
  const hosts = new Set(words.filter((word) => networkOf(word) === undefined).map(plainHost));
  return (address, host) => {
    if (hosts.has(plainHost(host))) return true;
    const bytes = bytesOf(address);
    if (bytes === undefined) return false;
    const plain = MAPPED.some((network) => isIn(bytes, network)) ? bytes.slice(12) : bytes;
    if (networks.some((one) => isIn(bytes, one) || isIn(plain, one))) return true;
    return isPublic(plain) && !own().some((near) => isIn(plain, aroundOf(near)));
  };
}

/** The addresses of all interfaces now: a board changes its network. */
function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).map(({ address }) => address),
  );
}

/** Prefix length of the network of an IPv6 host (RFC 4291 section 2.5.4). */
const LINK_BITS = 64;

function aroundOf(address: string): Network {
  const bytes = bytesOf(address) ?? [];
  return { bytes, bits: bytes.length === 16 ? LINK_BITS : 32 };
}

function isPublic(bytes: readonly number[]): boolean {
  if (bytes.length === 16 && !PUBLIC_IPV6.some((network) => isIn(bytes, network))) return false;
  return !REFUSED.some((network) => isIn(bytes, network));
}

/** A host name without a final dot; an IPv6 address without brackets. */
export function plainHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}

function isIn(bytes: readonly number[], { bytes: wanted, bits }: Network): boolean {
  if (bytes.length !== wanted.length) return false;
  return wanted.every((byte, index) => {
    const counted = Math.min(8, Math.max(0, bits - index * 8));
    const mask = (0xff << (8 - counted)) & 0xff;
    return (byte & mask) === ((bytes[index] ?? 0) & mask);
  });
}

function networksIn(text: string): Network[] {
  return text
    .split(/\s+/)
    .map(networkOf)
    .filter((network) => network !== undefined);
}

/** `10.0.0.0/8` or a single address; undefined for any other text. */
function networkOf(text: string): Network | undefined {
  const [address = "", length] = plainHost(text).split("/");
  const bytes = bytesOf(address);
  if (bytes === undefined) return undefined;
  const bits = length === undefined ? bytes.length * 8 : Number(length);
  return /^\d+$/.test(length ?? "0") && bits <= bytes.length * 8 ? { bytes, bits } : undefined;
}

/** The bytes of an address without its zone (`%eth0`); undefined if the text is not an address. */
function bytesOf(text: string): number[] | undefined {
  const address = text.replace(/%.*$/, "");
  if (isIP(address) === 4) return address.split(".").map(Number);
  if (isIP(address) !== 6) return undefined;
  const [left = "", right] = address.split("::");
  const [head, tail] = [groupsOf(left), groupsOf(right ?? "")];
  const missing = right === undefined ? 0 : 16 - head.length - tail.length;
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail];
}

/** The bytes of `fe80:1`, or of `ffff:127.0.0.1`. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const number = Number.parseInt(group, 16);
    return [number >> 8, number & 0xff];
  });
}
