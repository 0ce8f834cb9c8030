import { isIP } from "node:net";
import { networkInterfaces } from "node:os";

/** An address or a network, as bits: 4 bytes of IPv4 or 16 of IPv6. */
interface Network {
  readonly bytes: readonly number[];
  /** How many leading bits count. */
  readonly bits: number;
}

/**
 * What is not the public internet: this host, private networks, links, carriers' own networks (RFC
 * 6598), documentation, benchmarks, multicast, reserved ones, and the address at which a cloud tells
 * its machines their secrets where that is a public one.
 */
const REFUSED: readonly Network[] = networksIn(
  `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16 169.254.0.0/16 172.16.0.0/12
   192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24
   203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
   2001::/23 2001:db8::/32 2002::/16 3fff::/20`,
);

/** All of IPv6 that is assigned to the public internet; whatever else there is, is refused. */
const PUBLIC_IPV6: readonly Network[] = networksIn("2000::/3");

/** IPv4 addresses in the dress of IPv6 (RFC 4291, 6052): the last four bytes say where they lead. */
const DRESSED: readonly Network[] = networksIn("::ffff:0:0/96 64:ff9b::/96");

/** Says of an address (as a resolver spells it) whether it may be connected to. */
export type IsAllowed = (address: string, host: string) => boolean;

/**
 * Allows the public internet, and what the list names: hosts, addresses, networks as `10.0.0.0/8`. A
 * host on the list may lead anywhere. What is public and yet this machine's own is refused as well:
 * `own` tells its addresses, and with one of IPv6 goes the network around it, whose neighbours may trust
 * it.
 */
export function createAllowance(list: readonly string[], own = ownAddresses): IsAllowed {
  const words = list.map((word) => word.trim().toLowerCase()).filter((word) => word !== "");
  const networks = words.map(networkOf).filter((network) => network !== undefined);
  const hosts = new Set(words.filter((word) => networkOf(word) === undefined).map(plainHost));
  return (address, host) => {
    if (hosts.has(plainHost(host))) return true;
    const bytes = bytesOf(address);
    if (bytes === undefined) return false;
    const plain = DRESSED.some((network) => isIn(bytes, network)) ? bytes.slice(12) : bytes;
    if (networks.some((one) => isIn(bytes, one) || isIn(plain, one))) return true;
    return isPublic(plain) && !own().some((near) => isIn(plain, aroundOf(near)));
  };
}

/** Of all interfaces as they are now: a board changes its network. */
function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).map(({ address }) => address),
  );
}

/** Bits of the network that an IPv6 host shares with its neighbours (RFC 4291 section 2.5.4). */
const LINK_BITS = 64;

function aroundOf(address: string): Network {
  const bytes = bytesOf(address) ?? [];
  return { bytes, bits: bytes.length === 16 ? LINK_BITS : 32 };
}

function isPublic(bytes: readonly number[]): boolean {
  if (bytes.length === 16 && !PUBLIC_IPV6.some((network) => isIn(bytes, network))) return false;
  return !REFUSED.some((network) => isIn(bytes, network));
}

/** A name without the dot that ends it, an IPv6 address without its brackets. */
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

/** The bytes of an address in its usual spelling, its zone (`%eth0`) left out; undefined for none. */
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
