import { readFile } from "node:fs/promises";
import { connect as connectTcp, isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { Failure } from "../base/failure.ts";
import type { BrokerAddress } from "../config/broker.ts";
import type { TlsSettings } from "../config/contract.ts";

/** A way to the broker, ready to be opened once. */
export interface Transport {
  open(): Duplex;
  /** What the stream failed with, where it failed: refused, unknown host, an untrusted certificate. */
  error(): Error | undefined;
}

/** An address that can be dialled; the built-in broker is one of these once it listens. */
export type DialAddress = Exclude<BrokerAddress, { kind: "embedded" }>;

/**
 * Reads what the way needs (certificates anew at each attempt, so that renewed ones count); throws a
 * `Failure` of code `config` for a file that cannot be read.
 */
export async function prepareTransport(address: DialAddress, tls: TlsSettings): Promise<Transport> {
  const dial = await dialler(address, tls);
  let failure: Error | undefined;
  return {
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

async function dialler(address: DialAddress, tls: TlsSettings): Promise<() => Duplex> {
  if (address.kind === "unix") return () => connectTcp({ path: address.path });
  const { host, port, kind } = address;
  if (kind === "tcp") return () => connectTcp({ host, port, noDelay: true });
  const settings = { ...(await tlsOptions(tls)), ...serverName(tls, host) };
  if (kind === "tls") return () => connectTls({ host, port, ...settings });
  return webSocketDialler(address, settings);
}

interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly minVersion: "TLSv1.2";
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** What a handshake takes; rejects with a `Failure` of code `config` for a file that cannot be read. */
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
      why: error instanceof Error ? error.message : String(error),
      remedy: `put the PEM file there, or mend tls.${key}`,
      cause: error,
    });
  }
}

/** Server Name Indication (RFC 6066 section 3) takes names, never addresses. */
export function serverName(tls: TlsSettings, host: string): { servername?: string } {
  if (tls.server_name !== undefined) return { servername: tls.server_name };
  return isIP(host) === 0 ? { servername: host } : {};
}

/** RFC 5246 appendix E. */
const TLS_1_2 = 0x03_03;

async function webSocketDialler(
  { kind, host, port, path }: Exclude<DialAddress, { kind: "unix" }>,
  tls: TlsOptions & { servername?: string },
): Promise<() => Duplex> {
  const { default: WebSocket, createWebSocketStream } = await import("ws");
  const authority = host.includes(":") ? `[${host}]` : host;
  const url = `${kind}://${authority}:${port}${path}`;
  return () => {
    // Bun's own WebSocket takes TLS options in `tls` and versions by number, the package in its options.
    const settings = kind === "wss" ? { ...tls, tls: { ...tls, minVersion: TLS_1_2 } } : {};
    const socket = new WebSocket(url, ["mqtt"], settings);
    const stream = createWebSocketStream(socket);
    socket.on("close", () => stream.destroy());
    return stream;
  };
}
