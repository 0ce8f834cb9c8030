import { readFile } from "node:fs/promises";
import { connect as connectTcp, isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { Failure, messageOf } from "../../base/failure.ts";
import { authorityOf } from "../../base/url.ts";
import { type BrokerAddress, parseBroker } from "../../config/broker.ts";
import type { TlsSettings } from "../../config/contract.ts";
import { ProtocolFault } from "../limiter/packet-limiter.ts";

/** A stream to the broker, to be opened once. */
export interface Transport {
  open(): Duplex;
  /** Bytes of the largest packet that the transport carries; undefined is any. */
  readonly maximumPacketBytes: number | undefined;
  /** Why the stream failed, if it did: refused, unknown host, untrusted certificate. */
  error(): Error | undefined;
}

/** An address that can be dialled; the running built-in broker has one, too. */
export type DialAddress = Exclude<BrokerAddress, { kind: "embedded" }>;

/**
 * Reads the certificates, at each attempt, so that renewed ones are used. Throws a `Failure` of code `config`
 * for a file that cannot be read. The transport must carry packets of `maximumPacketBytes`.
 */
export async function prepareTransport(
  address: DialAddress,
  tls: TlsSettings,
  maximumPacketBytes: number,
): Promise<Transport> {
  const dial = await dialler(address, tls, maximumPacketBytes);
  const isWebSocket = address.kind === "ws" || address.kind === "wss";
  let failure: Error | undefined;
  return {
    maximumPacketBytes: isWebSocket ? webSocketBytes(maximumPacketBytes) : undefined,
    open() {
      const stream = dial();
      stream.on("error", (error: Error) => {
        failure ??= error;
      });
      return stream;
    },
    error: () => failure,
  };
}

async function dialler(
  address: DialAddress,
  tls: TlsSettings,
  maximumPacketBytes: number,
): Promise<() => Duplex> {
  if (address.kind === "unix") return () => connectTcp({ path: address.path });
  const { host, port, kind } = address;
  if (kind === "tcp") return () => connectTcp({ host, port, noDelay: true });
  const settings = { ...(await tlsOptions(tls)), ...serverName(tls, host) };
  if (kind === "tls") return () => connectTls({ host, port, ...settings });
  return webSocketDialler(address, settings, maximumPacketBytes);
}

interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly minVersion: "TLSv1.2";
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** The options of a TLS handshake; rejects with a `Failure` of code `config` for a file that cannot be read. */
export async function tlsOptions(tls: TlsSettings): Promise<TlsOptions> {
  const [ca, cert, key] = await Promise.all([
    pemOf(tls.ca_file, "ca_file"),
    pemOf(tls.cert_file, "cert_file"),
    pemOf(tls.key_file, "key_file"),
  ]);
  return {
    rejectUnauthorized: tls.verify,
    minVersion: "TLSv1.2",
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
  };
}

async function pemOf(file: string | undefined, key: string): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new Failure("config", `tls.${key} cannot be read: ${file}`, {
      why: messageOf(error),
      remedy: `put the PEM file there, or correct tls.${key}`,
      cause: error,
    });
  }
}

/** Server Name Indication (RFC 6066 section 3) allows names, not addresses. */
export function serverName(tls: TlsSettings, host: string): { servername?: string } {
  if (tls.server_name !== undefined) return { servername: tls.server_name };
  return isIP(host) === 0 ? { servername: host } : {};
}

/**
 * The largest WebSocket message, which is buffered whole. A broker puts one packet into one message; it may
 * be larger than the packets that we accept, because a larger PUBLISH is truncated.
 */
const MOST_MESSAGE_BYTES = 16_777_216;

function webSocketBytes(maximumPacketBytes: number): number {
  return Math.max(MOST_MESSAGE_BYTES, maximumPacketBytes);
}

/** RFC 5246 appendix E. */
const TLS_1_2 = 0x03_03;

async function webSocketDialler(
  { kind, host, port, path }: Exclude<DialAddress, { kind: "unix" }>,
  tls: TlsOptions & { servername?: string },
  maximumPacketBytes: number,
): Promise<() => Duplex> {
  const { default: WebSocket, createWebSocketStream } = await import("ws");
  const url = `${kind}://${authorityOf(host, port)}${path}`;
  const maxPayload = webSocketBytes(maximumPacketBytes);
  return () => {
    // Bun's WebSocket takes TLS options in `tls`, with versions as numbers; the package takes them directly.
    const secure = kind === "wss" ? { ...tls, tls: { ...tls, minVersion: TLS_1_2 } } : {};
    const bounded = { perMessageDeflate: false, maxPayload };
    const socket = new WebSocket(url, ["mqtt"], { ...secure, ...bounded });
    // Before the stream's own listener, which would wait for the peer to close.
    socket.on("error", (error) => {
      stream.destroy(faultOf(error));
      socket.terminate();
    });
    const stream = createWebSocketStream(socket);
    socket.on("close", () => stream.destroy());
    return stream;
  };
}

function faultOf(error: Error): Error {
  return /max payload|fragments|extension/i.test(error.message)
    ? new ProtocolFault(`a WebSocket message that is not allowed (${error.message})`)
    : error;
}

/** The address to dial for a broker's URL; the built-in broker is dialled on the loopback. */
export function dialAddressOf(broker: string): DialAddress {
  const address = parseBroker(broker);
  if (address.kind === "invalid") {
    throw new Failure("config", "the broker's address is not understood", { why: address.reason });
  }
  if (address.kind !== "embedded") return address;
  return { kind: "tcp", host: reachable(address.host), port: address.port, path: "/" };
}

function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}
