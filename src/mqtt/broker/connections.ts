import type { Socket } from "node:net";
import { Duplex, Writable } from "node:stream";
import { limitIncoming } from "../limiter/packet-limiter.ts";
import type { PacketRules } from "../limiter/rules.ts";

/** What the built-in broker's clients may take of the memory together and each, in bytes. */
export interface ConnectionLimits {
  /** The largest packet. */
  readonly packetBytes: number;
  /** What lies ready for one client that does not read; more is left out, and nothing more read from it. */
  readonly unreadBytes: number;
  /** What lies ready for all, of packets that are not whole, and what else is held; beyond it the largest holder is cut. */
  readonly heldBytes: number;
  /** Milliseconds in which a client must read something of what lies ready. */
  readonly unreadMs: number;
}

/** The accepted connections of the built-in broker, none of which can hold the memory or the others up. */
export interface Connections {
  /** The stream that the broker reads and writes in the socket's place. */
  accept(socket: Socket): Duplex;
  /** Whether so many bytes may still be laid ready for the client behind the stream, after those ahead of them. */
  hasRoom(stream: Duplex, bytes: number, ahead?: number): boolean;
  /** Passes all that is written to the stream through the function. */
  translate(stream: Duplex, change: (bytes: Buffer) => Buffer): void;
  /** Writes whole packets past that function. */
  send(stream: Duplex, bytes: Buffer): void;
  /** Adds to what is held for the client behind the stream. */
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

/** While nobody knows who sends it: a client id, credentials and a will. */
const FIRST_BYTES = 16_384;
/** SUBSCRIBE and UNSUBSCRIBE. */
const FILTERS_BYTES = 16_384;
const PIECE_BYTES = 16_384;
/** The broker must never wait for one client to read: it would keep the messages of all. */
const NEVER_FULL = 2 ** 30;

/** `onRead` is told of each stream whose client has read something of what lies ready. */
export function createConnections(
  limits: ConnectionLimits,
  onRead: (stream: Duplex) => void = () => {},
): Connections {
  const accounts = new Map<Duplex, Account>();
  let held = 0;
  const change = (account: Account, of: Kind, bytes: number): void => {
    held += bytes;
    account[of] += bytes;
    if (held > limits.heldBytes) fullestOf(accounts.values())?.socket.destroy();
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

function fullestOf(accounts: Iterable<Account>): Account | undefined {
  let fullest: Account | undefined;
  for (const account of accounts) {
    const isFuller = fullest === undefined || sumOf(account) > sumOf(fullest);
    if (isFuller && !account.socket.destroyed) fullest = account;
  }
  return fullest;
}

function sumOf({ unread, partial, other }: Account): number {
  return unread + partial + other;
}

interface Outflow {
  write(chunk: Buffer): void;
  /** Is called each time when something was read. */
  onRead: () => void;
  stop(): void;
}

/** Counts what lies ready, and cuts a client that reads nothing of it for too long. */
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

/** What the broker reads and writes; `inflow` takes what came. */
function streamOf(
  socket: Socket,
  outflow: Outflow,
  { isFull, onRead, translate }: StreamOptions,
): Duplex & { readonly inflow: Writable } {
  let taken: (() => void) | undefined;
  let isWanted = true;
  const goOn = (): void => {
    if (taken === undefined || !isWanted || isFull()) return;
    const done = taken;
    taken = undefined;
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
    taken = done;
    goOn();
  });
  return Object.assign(stream, { inflow });
}

/** Hands what came to the reader of the stream; `onTaken` says when more may come. */
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

/** A large payload is one and the same for all whom it goes to, until it is sent. */
function joinedIfSmall(chunks: readonly { readonly chunk: Buffer }[]): readonly Buffer[] {
  const pieces = chunks.map(({ chunk }) => chunk);
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  return bytes <= PIECE_BYTES ? [Buffer.concat(pieces)] : pieces;
}
