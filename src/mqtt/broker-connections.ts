import type { Socket } from "node:net";
import { Duplex, Writable } from "node:stream";
import { guardIncoming } from "./guard.ts";

/** What the built-in broker's clients may take of the memory together and each, in bytes. */
export interface ConnectionLimits {
  /** The largest packet. */
  readonly packetBytes: number;
  /** What lies ready for one client that does not read; more is left out, and nothing more read from it. */
  readonly unreadBytes: number;
  /** What lies ready for all, and of packets that are not whole; beyond it the largest holder is cut. */
  readonly heldBytes: number;
  /** Milliseconds in which a client must read something of what lies ready. */
  readonly unreadMs: number;
}

/** The accepted connections of the built-in broker, none of which can hold the memory or the others up. */
export interface Connections {
  /** The stream that the broker reads and writes in the socket's place. */
  accept(socket: Socket): Duplex;
  /** Whether so many bytes may still be laid ready for the client behind the stream. */
  hasRoom(stream: Duplex, bytes: number): boolean;
  destroy(): void;
}

/** One connection's share; `change` adds to what lies ready for its client. */
interface Account {
  unread: number;
  partial: number;
  readonly socket: Socket;
}

/** While nobody knows who sends it: a client id, credentials and a will. */
const FIRST_BYTES = 16_384;
/** SUBSCRIBE and UNSUBSCRIBE. */
const FILTERS_BYTES = 16_384;
const PIECE_BYTES = 16_384;
/** The broker must never wait for one client to read: it would keep the messages of all. */
const NEVER_FULL = 2 ** 30;

export function createConnections(limits: ConnectionLimits): Connections {
  const accounts = new Map<Duplex, Account>();
  let held = 0;
  const change = (account: Account, unread: number, partial: number): void => {
    held += unread + partial;
    account.unread += unread;
    account.partial += partial;
    if (held > limits.heldBytes) fullestOf(accounts.values())?.socket.destroy();
  };
  return {
    accept(socket) {
      const account: Account = { unread: 0, partial: 0, socket };
      const outflow = createOutflow(account, limits.unreadMs, (bytes) => change(account, bytes, 0));
      const isFull = (): boolean => account.unread > limits.unreadBytes;
      const stream = streamOf(socket, outflow, isFull);
      accounts.set(stream, account);
      socket.once("close", () => {
        outflow.stop();
        accounts.delete(stream);
        held -= account.unread + account.partial;
        stream.destroy();
      });
      const onHeld = (bytes: number): void => change(account, 0, bytes - account.partial);
      guardIncoming(socket, {
        sender: "client",
        protocol: 4,
        maximumPacketBytes: limits.packetBytes,
        maximumFirstBytes: FIRST_BYTES,
        maximumOtherBytes: FILTERS_BYTES,
        onHeld,
      }).pipe(stream.inflow);
      return stream;
    },
    hasRoom(stream, bytes) {
      const unread = accounts.get(stream)?.unread ?? 0;
      return unread === 0 || unread + bytes <= limits.unreadBytes;
    },
    destroy() {
      for (const { socket } of accounts.values()) socket.destroy();
    },
  };
}

function fullestOf(accounts: Iterable<Account>): Account | undefined {
  let fullest: Account | undefined;
  for (const account of accounts) {
    const isFuller =
      fullest === undefined || account.unread + account.partial > fullest.unread + fullest.partial;
    if (isFuller && !account.socket.destroyed) fullest = account;
  }
  return fullest;
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
      if (isOver || socket.destroyed) return;
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

/** What the broker reads and writes; `inflow` takes what came. */
function streamOf(
  socket: Socket,
  outflow: Outflow,
  isFull: () => boolean,
): Duplex & { readonly inflow: Writable } {
  let taken: (() => void) | undefined;
  let isWanted = true;
  const goOn = (): void => {
    if (taken === undefined || !isWanted || isFull()) return;
    const done = taken;
    taken = undefined;
    done();
  };
  outflow.onRead = goOn;
  const stream = new Duplex({
    readableHighWaterMark: PIECE_BYTES,
    writableHighWaterMark: NEVER_FULL,
    read() {
      isWanted = true;
      goOn();
    },
    write(chunk: Buffer, _encoding, done) {
      outflow.write(chunk);
      done();
    },
    writev(chunks, done) {
      for (const piece of joinedIfSmall(chunks)) outflow.write(piece);
      done();
    },
    destroy(_error, done) {
      socket.destroy();
      done(null);
    },
  });
  const inflow = new Writable({
    write(chunk: Buffer, _encoding, done) {
      isWanted = stream.push(chunk);
      taken = done;
      goOn();
    },
    final(done) {
      stream.push(null);
      done();
    },
  });
  return Object.assign(stream, { inflow });
}

/** A large payload is one and the same for all whom it goes to, until it is sent. */
function joinedIfSmall(chunks: readonly { readonly chunk: Buffer }[]): readonly Buffer[] {
  const pieces = chunks.map(({ chunk }) => chunk);
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
  return bytes <= PIECE_BYTES ? [Buffer.concat(pieces)] : pieces;
}
