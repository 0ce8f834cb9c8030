import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:tls";
import type { Check } from "../../base/contract.ts";
import type { Log } from "../../base/log.ts";
import { isLoopback } from "../../base/url.ts";
import type { MqttChannel, MqttSettings } from "../../config/contract.ts";
import { nodesOf, type BrokerNode } from "../client/nodes.ts";
import { serverName, tlsOptions } from "../client/transport.ts";
import { certificateOf, day, SET_CLOCK } from "./certificate.ts";

const DAY_MS = 86_400_000;
/** Expiry is reported so long before. */
const SOON_MS = 30 * DAY_MS;
const HANDSHAKE_MS = 5_000;
/** A clock before this has not been set: without a battery it starts at 1970. */
const CLOCK_MS = Date.UTC(2024, 0, 1);

/** Validity, in milliseconds since the epoch. */
interface Term {
  readonly from: number;
  readonly to: number;
}

/**
 * Checks how long the certificates of a channel are valid: the broker's, from a handshake, those of
 * `ca_file`, and our own. Returns nothing if the channel does not use TLS or the broker cannot be reached.
 * Never rejects; takes at most 5 s.
 */
export async function certificateChecks(
  channel: MqttChannel,
  now = Date.now(),
): Promise<readonly Check[]> {
  const { settings } = channel;
  const nodes = secureNodes(settings);
  if (nodes.length === 0) return [];
  const { ca_file: authority, cert_file: own } = settings.tls;
  const found = await Promise.all([
    ...nodes.map(async (node) => {
      const which = settings.broker.length === 1 ? "" : ` ${node.broker}`;
      const about = `certificate of ${channel.name}'s broker${which}`;
      return checkOf(about, await handshakeTerm(node, settings), now);
    }),
    termOfFile(authority).then((term) => checkOf(`ca_file of ${channel.name}`, term, now)),
    termOfFile(own).then((term) => checkOf(`cert_file of ${channel.name}`, term, now)),
  ]);
  return found.filter((check) => check !== undefined);
}

/** Logs certificates that expire soon, now and once a day, until the returned function is called. */
export function watchCertificates(channels: readonly MqttChannel[], log: Log): () => Promise<void> {
  let isOver = false;
  const look = async (): Promise<void> => {
    for (const channel of channels) {
      for (const { name, result, message, remedy } of await certificateChecks(channel)) {
        if (isOver || result === "ok") continue;
        log[result === "fail" ? "error" : "warn"](message, { about: name, try: remedy });
      }
    }
  };
  void look();
  const timer = setInterval(() => void look(), DAY_MS);
  timer.unref();
  return async () => {
    isOver = true;
    clearInterval(timer);
  };
}

function secureNodes(settings: MqttSettings): readonly BrokerNode[] {
  return nodesOf(settings).filter(({ address: { kind } }) => kind === "tls" || kind === "wss");
}

function checkOf(name: string, term: Term | undefined, now: number): Check | undefined {
  if (term === undefined) return undefined;
  if (now < CLOCK_MS || now < term.from) {
    const clock = `the clock of this device says ${day(now)}`;
    const message = `it is valid from ${day(term.from)} on, and ${clock}`;
    return { name, result: "fail", message, remedy: SET_CLOCK };
  }
  const days = Math.floor((term.to - now) / DAY_MS);
  if (term.to <= now) {
    const message = `it expired on ${day(term.to)}`;
    return { name, result: "fail", message, remedy: "renew it" };
  }
  const message = `it expires on ${day(term.to)}, in ${days} days`;
  if (term.to - now > SOON_MS) return { name, result: "ok", message };
  return {
    name,
    result: "warn",
    message,
    remedy: "renew it; a new file counts at the next connect",
  };
}

/** The common validity of the certificates in a PEM file. A file that cannot be read is reported elsewhere. */
async function termOfFile(file: string | undefined): Promise<Term | undefined> {
  if (file === undefined) return undefined;
  const pem = await readFile(file, "utf8").catch(() => "");
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const terms = blocks.flatMap((block) => termOf(block) ?? []);
  if (terms.length === 0) return undefined;
  return {
    from: Math.max(...terms.map(({ from }) => from)),
    to: Math.min(...terms.map(({ to }) => to)),
  };
}

function termOf(pem: string): Term | undefined {
  try {
    const { validFrom, validTo } = new X509Certificate(pem);
    return { from: Date.parse(validFrom), to: Date.parse(validTo) };
  } catch {
    return undefined;
  }
}

/** The validity of the broker's certificate, trusted or not; undefined without a handshake in time. */
async function handshakeTerm(
  { address }: BrokerNode,
  settings: MqttSettings,
): Promise<Term | undefined> {
  if (address.kind === "unix") return undefined;
  const { host, port } = address;
  const options = await tlsOptions(settings.tls).catch(() => undefined);
  if (options === undefined) return undefined;
  const names = serverName(settings.tls, host);
  const socket = connect({ host, port, ...options, ...names, rejectUnauthorized: false });
  const shown = await certificateOf(socket, HANDSHAKE_MS);
  return shown === undefined || Number.isNaN(shown.to) ? undefined : shown;
}

/** Checks whether the broker's certificate is verified; undefined without TLS. */
export function trustCheck({ name, settings }: MqttChannel): Check | undefined {
  if (secureNodes(settings).length === 0) return undefined;
  const about = `TLS of ${name}`;
  if (settings.tls.verify) {
    return { name: about, result: "ok", message: "the broker's certificate is verified" };
  }
  return {
    name: about,
    result: "warn",
    message: "the broker's certificate is not verified: anyone in between can read and answer",
    remedy: `set channel_list.${name}.settings.tls.ca_file, or tls.verify`,
  };
}

function isOnThisMachine({ address }: BrokerNode): boolean {
  return address.kind === "unix" || isLoopback(address.host);
}

/**
 * Checks whether the broker can identify clients. Its rules are not visible to us, so this checks whether the
 * channel itself has credentials, which an open broker does not need. One on this machine is trusted, unless commands
 * of clients reach it.
 */
export function identityCheck(
  { name, settings }: MqttChannel,
  isOpenToCommands: boolean,
): Check | undefined {
  const nodes = nodesOf(settings);
  const isLocal = nodes.every((node) => isOnThisMachine(node));
  const isHidden = nodes.every(({ address }) => address.kind === "unix");
  if (isLocal && (isHidden || !isOpenToCommands)) return undefined;
  const about = `broker of ${name}`;
  if (settings.username !== undefined || settings.tls.cert_file !== undefined) {
    const message =
      "the channel has credentials; whether the broker separates clients is not visible from here";
    return { name: about, result: "ok", message };
  }
  const anyone = isLocal ? "a command of a client (tools.exec.allow_network)" : "anyone";
  return {
    name: about,
    result: "warn",
    message: `the channel has no credentials: if the broker needs none, ${anyone} can act in the name of every client and of the gateway`,
    remedy: "give the broker users, and the access list of: picoclaw acl mosquitto",
  };
}
