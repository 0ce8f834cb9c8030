import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { Server } from "node:net";
import { platform, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Failure } from "./failure.ts";
import { userId } from "./host.ts";

/** Bytes of a socket's name, of the systems with the fewest (macOS); Linux has 107. */
const LONGEST_NAME = 103;
/** Milliseconds for a text to be sent. */
const SEND_MS = 5000;
const CONNECTIONS = 16;
const LARGEST_TEXT = 4 * 2 ** 20;

/**
 * The name to listen on in place of a file: itself, or, if that is too long for a socket, one in a folder of this user
 * for temporary files; a pipe on Windows.
 */
export function socketName(file: string): string {
  const path = resolve(file);
  if (platform() !== "win32" && Buffer.byteLength(path) <= LONGEST_NAME) return path;
  const hash = createHash("sha256").update(path).digest("hex").slice(0, 24);
  if (platform() === "win32") return `\\\\.\\pipe\\picoclaw-${hash}`;
  return join(tmpdir(), `picoclaw-${userId() ?? ""}`, `${hash}.sock`);
}

/**
 * Sends one text to each program of this user that connects; on Windows to each that the system lets open the pipe. What
 * a former process left at that name is replaced, so call it for a name that no living process has. Rejects if a socket
 * cannot be made there.
 */
export async function serveText(
  file: string,
  text: () => Promise<string>,
): Promise<{ readonly close: () => Promise<void> }> {
  const name = socketName(file);
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.setTimeout(SEND_MS, () => socket.destroy());
    text().then(
      (whole) => socket.end(whole),
      () => socket.destroy(),
    );
  });
  server.maxConnections = CONNECTIONS;
  if (platform() === "win32") await listen(server, name);
  else await listenPrivately(server, name, name !== resolve(file));
  return {
    close: () =>
      new Promise((done) => {
        if (platform() !== "win32") rmSync(name, { force: true });
        server.close(() => done());
      }),
  };
}

/** The text that a program of this user serves there; undefined if none does, or not in time. */
export async function readServedText(
  file: string,
  milliseconds: number,
): Promise<string | undefined> {
  const name = socketName(file);
  if (platform() !== "win32" && name !== resolve(file) && !isOwn(dirname(name))) return undefined;
  const { promise, resolve: end } = Promise.withResolvers<string | undefined>();
  const pieces: Buffer[] = [];
  let length = 0;
  const socket = connect(name);
  const timer = setTimeout(() => socket.destroy(), milliseconds);
  socket.on("data", (piece: Buffer) => {
    pieces.push(piece);
    length += piece.length;
    if (length > LARGEST_TEXT) socket.destroy();
  });
  let isWhole = false;
  socket.on("end", () => {
    isWhole = true;
  });
  socket.on("error", () => end(undefined));
  socket.on("close", () => {
    clearTimeout(timer);
    end(isWhole && length > 0 ? Buffer.concat(pieces).toString("utf8") : undefined);
  });
  return await promise;
}

/** Nobody else can connect at any moment: the socket is made in a private folder, and moved from there. */
async function listenPrivately(server: Server, name: string, isShared: boolean): Promise<void> {
  const folder = dirname(name);
  if (isShared) ownFolder(folder);
  const hidden = mkdtempSync(join(folder, ".s"));
  try {
    const made = join(hidden, "s");
    await listen(server, made);
    chmodSync(made, 0o600);
    renameSync(made, name);
  } catch (error) {
    server.close();
    throw error;
  } finally {
    rmSync(hidden, { recursive: true, force: true });
  }
}

/** Everybody can make folders for temporary files, also one of this name. */
function ownFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (isOwn(folder)) return;
  throw new Failure("failed", `${folder} does not belong to this user alone`);
}

function isOwn(folder: string): boolean {
  const facts = lstatSync(folder, { throwIfNoEntry: false });
  return facts?.isDirectory() === true && facts.uid === userId() && (facts.mode & 0o077) === 0;
}

function listen(server: Server, name: string): Promise<void> {
  return new Promise((done, reject) => {
    server.once("error", reject);
    server.listen(name, () => done());
  });
}
