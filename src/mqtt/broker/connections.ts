import type { Socket } from "node:net";
import { Duplex, Writable } from "node:stream";
import { limitIncoming } from "../limiter/packet-limiter.ts";
import type { PacketRules } from "../limiter/packet-rules.ts";

/** Bounds on the memory that clients use, each and together, in bytes. */
export interface ConnectionLimits {
  /** The largest packet. */
  readonly packetBytes: number;
  /** Unread output of one client; beyond it messages are dropped, and nothing more is read from the client. */
  readonly unreadBytes: number;
  /** Unread output, incomplete packets and other data of all clients; beyond it the largest user is cut. */
  readonly heldBytes: number;
  /** Milliseconds in which a client must read some of its unread output. */
  readonly unreadMs: number;
}

/** The connections of the built-in broker; none can exhaust the memory or block the others. */
export interface Connections {
  /** Returns the stream that the broker reads and writes instead of the socket. */
  accept(socket: Socket): Duplex;
  /** Whether the client may get so many more bytes of output, after those `ahead` of them. */
  hasRoom(stream: Duplex, bytes: number, ahead?: number): boolean;
  /** Applies the function to all that is written to the stream. */
  translate(stream: Duplex, change: (bytes: Buffer) => Buffer): void;
  /** Writes complete packets without that function. */
  send(stream: Duplex, bytes: Buffer): void;
  /** Adds to the memory that is counted for the client. */
  hold(stream: Duplex, bytes: number): void;
  destroy(): void;
}

/** One connection's share, in bytes. */
interface Account {
  unread: number;
  partial: number;
  other: number;
  translate?: (bytes: Buffer) => Buffer;
  outflow?: Outflow;
  readonly socket: Socket;
}

type Kind = "unread" | "partial" | "other";

/** The first packet, before authentication: a client id, credentials and a will. */
const FIRST_BYTES = 16_384;
/** SUBSCRIBE and UNSUBSCRIBE. */
const FILTERS_BYTES = 16_384;
const PIECE_BYTES = 16_384;
/** The broker must never wait for one client to read: it would buffer the messages of all. */
const NEVER_FULL = 2 ** 30;

/** Calls `onRead` with each stream whose client has read some of its output. */
export function createConnections(
  limits: ConnectionLimits,
  onRead: (stream: Duplex) => void = () => {},
): Connections {
  const accounts = new Map<Duplex, Account>();
  let held = 0;
  const change = (account: Account, of: Kind, bytes: number): void => {
    held += bytes;
    account[of] += bytes;
    if (held > limits.heldBytes) largestOf(accounts.values())?.socket.destroy();
  };
  return {
    accept(socket) {
      const account: Account = { unread: 0, partial: 0, other: 0, socket };
      const outflow = createOutflow(account, limits.unreadMs, (n) => change(account, "unread", n));
      account.outflow = outflow;
      const stream = streamOf(socket, outflow, {
        isFull: () => account.unread > limits.unreadBytes,
        onRead: () => onRead(stream),
        translate: (bytes) => account.translate?.(bytes) ?? bytes,
      });
      accounts.set(stream, account);
      socket.once("close", () => {
        outflow.stop();
        accounts.delete(stream);
        held -= sumOf(account);
        stream.destroy();
      });
      const onHeld = (bytes: number): void => change(account, "partial", bytes - account.partial);
      limitIncoming(socket, { ...rulesFor(limits), onHeld }).pipe(stream.inflow);
      return stream;
    },
    hasRoom(stream, bytes, ahead = 0) {
      const before = (accounts.get(stream)?.unread ?? 0) + ahead;
      return before === 0 || before + bytes <= limits.unreadBytes;
    },
    translate(stream, translation) {
      const account = accounts.get(stream);
      if (account) account.translate = translation;
    },
    send: (stream, bytes) => accounts.get(stream)?.outflow?.write(bytes),
    hold(stream, bytes) {
      const account = accounts.get(stream);
      if (account) change(account, "other", bytes);
    },
    destroy() {
      for (const { socket } of accounts.values()) socket.destroy();
    },
  };
}

function rulesFor(limits: ConnectionLimits): PacketRules {
  return {
    sender: "client",
    protocol: 4,
    maximumPacketBytes: limits.packetBytes,
    maximumFirstBytes: FIRST_BYTES,
    maximumOtherBytes: FILTERS_BYTES,
  };
}

function largestOf(accounts: Iterable<Account>): Account | undefined {
  let largest: Account | undefined;
  for (const account of accounts) {
    const isLarger = largest === undefined || sumOf(account) > sumOf(largest);
    if (isLarger && !account.socket.destroyed) largest = account;
  }
  return largest;
}

function sumOf({ unread, partial, other }: Account): number {
  return unread + partial + other;
}

interface Outflow {
  write(chunk: Buffer): void;
  /** Called when the client has read something. */
  onRead: () => void;
  stop(): void;
}

/** Counts unread output, and cuts a client that reads nothing of it for too long. */
function createOutflow(
  account: Account,
  unreadMs: number,
  change: (bytes: number) => void,
): Outflow {
  const { socket } = account;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  const outflow: Outflow = {
    onRead: () => {},
    write(chunk) {
      if (isOver || socket.destroyed || chunk.length === 0) return;
      change(chunk.length);
      timer ??= setTimeout(() => socket.destroy(), unreadMs);
      socket.write(chunk, () => {
        if (isOver) return;
        change(-chunk.length);
        if (account.unread > 0) timer?.refresh();
        else {
          clearTimeout(timer);
          timer = undefined;
        }
        outflow.onRead();
      });
    },
    stop() {
      isOver = true;
      clearTimeout(timer);
    },
  };
  return outflow;
}

interface StreamOptions {
  readonly isFull: () => boolean;
  readonly onRead: () => void;
  readonly translate: (bytes: Buffer) => Buffer;
}

/** The stream that the broker reads and writes; `inflow` takes the data of the socket. */
function streamOf(
  socket: Socket,
  outflow: Outflow,
  { isFull, onRead, translate }: StreamOptions,
): Duplex & { readonly inflow: Writable } {
  let pending: (() => void) | undefined;
  let isWanted = true;
  const goOn = (): void => {
    if (pending === undefined || !isWanted || isFull()) return;
    const done = pending;
    pending = undefined;
    done();
  };
  outflow.onRead = () => {
    goOn();
    onRead();
  };
  const stream = new Duplex({
    readableHighWaterMark: PIECE_BYTES,
    writableHighWaterMark: NEVER_FULL,
    read() {
      isWanted = true;
      goOn();
    },
    write(chunk: Buffer, _encoding, done) {
      outflow.write(translate(chunk));
      done();
    },
    writev(chunks, done) {
      for (const piece of joinedIfSmall(chunks)) outflow.write(translate(piece));
      done();
    },
    destroy(_error, done) {
      socket.destroy();
      done(null);
    },
  });
  const inflow = createInflow(stream, (isMoreWanted, done) => {
    isWanted = isMoreWanted;
    pending = done;
    goOn();
  });
  return Object.assign(stream, { inflow });
}

/** Pushes data to the reader of the stream; calls `onTaken` with the function that asks for more. */
function createInflow(
  stream: Duplex,
  onTaken: (isMoreWanted: boolean, done: () => void) => void,
): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      onTaken(stream.push(chunk), done);
    },
    final(done) {
      stream.push(null);
      done();
    },
  });
}

/** Joins small chunks; a large payload stays one buffer, shared by all receivers. */
function joinedIfSmall(chunks: readonly { readonly chunk: Buffer }[]): readonly Buffer[] {
  const pieces = chunks.map(({ chunk }) => chunk);
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  return bytes <= PIECE_BYTES ? [Buffer.concat(pieces)] : pieces;
}
