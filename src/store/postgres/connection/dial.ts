import { readFile } from "node:fs/promises";
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { onAbort } from "../../../base/async.ts";
import type { PostgresHost, PostgresTls } from "../../../base/contract.ts";
import { Failure, messageOf } from "../../../base/failure.ts";

/** SSLRequest (PostgreSQL's protocol, section 55.2.10): its length, its code. */
const TLS_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const ACCEPTED = "S".charCodeAt(0);

/**
 * Connects to one host, with TLS as the mode says; over a socket of this machine there is none. With `prefer` there is
 * none either where no handshake succeeds. Rejects with the signal's reason when that is aborted; no connection is left
 * then.
 */
export async function dial(
  { host, port }: PostgresHost,
  tls: PostgresTls,
  signal: AbortSignal,
): Promise<Socket> {
  const isLocal = host.startsWith("/");
  const socket = connectPlain(isLocal ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  let isHandshaking = false;
  const stopListening = onAbort(signal, () => socket.destroy(asError(signal.reason)));
  try {
    await happens(socket, "connect");
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    if (isLocal || tls.mode === "disable") return socket;
    isHandshaking = await acceptsTls(socket);
    if (isHandshaking) return await secured(socket, host, tls);
    if (tls.mode === "prefer") return socket;
    throw new Error("the server offers no TLS");
  } catch (error) {
    socket.destroy();
    const isPlainNext = isHandshaking && tls.mode === "prefer" && !(error instanceof Failure);
    if (!isPlainNext || signal.aborted) throw error;
  } finally {
    stopListening();
  }
  return await dial({ host, port }, { ...tls, mode: "disable" }, signal);
}

/** Milliseconds of silence after which the system asks whether the other side is still there. */
const KEEP_ALIVE_MS = 10_000;

async function acceptsTls(socket: Socket): Promise<boolean> {
  const answered = happens(socket, "data");
  socket.write(TLS_REQUEST);
  const answer = await answered;
  // What comes behind it unencrypted is not from the server (CVE-2021-23222).
  if (!(answer instanceof Uint8Array) || answer.length !== 1) {
    throw new Error("the server does not answer as PostgreSQL does");
  }
  return answer[0] === ACCEPTED;
}

async function secured(socket: Socket, host: string, tls: PostgresTls): Promise<Socket> {
  const { mode } = tls;
  const isVerified = mode === "verify-ca" || mode === "verify-full";
  const options: ConnectionOptions = {
    socket,
    // Server Name Indication (RFC 6066 section 3) allows names, not addresses.
    ...(isIP(host) === 0 ? { servername: host } : { host }),
    rejectUnauthorized: isVerified,
    minVersion: "TLSv1.2",
    ...(mode !== "verify-full" && { checkServerIdentity: () => undefined }),
    ...(isVerified && (await pemOf("ca", tls.rootFile, "sslrootcert"))),
    ...(await pemOf("cert", tls.certificateFile, "sslcert")),
    ...(await pemOf("key", tls.keyFile, "sslkey")),
  };
  const secure = connectTls(options);
  await happens(secure, "secureConnect");
  return secure;
}

async function pemOf(option: "ca" | "cert" | "key", file: string | undefined, key: string) {
  if (file === undefined) return undefined;
  try {
    return { [option]: await readFile(file) };
  } catch (error) {
    throw new Failure("config", `${key} of gateway.store cannot be read: ${file}`, {
      why: messageOf(error),
      remedy: `put the PEM file there, or correct ${key}`,
    });
  }
}

/** Resolves with what an event brings; rejects when the socket fails or closes before. */
function happens(socket: Socket, event: "connect" | "data" | "secureConnect"): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const closed = (): void => reject(new Error("the server closed the connection"));
  socket.once(event, resolve).once("error", reject).once("close", closed);
  return promise.finally(() => {
    socket.off(event, resolve).off("close", closed);
    // An error that comes later must find a listener.
    socket.on("error", () => {}).off("error", reject);
  });
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
