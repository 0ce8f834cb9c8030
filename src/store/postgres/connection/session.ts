import type { Socket } from "node:net";
import postgres from "postgres";
import type { Options, PostgresType, Sql } from "postgres";
import { withTimeout } from "../../../base/async.ts";
import type { PostgresAddress, PostgresHost, PostgresTls } from "../../../base/contract.ts";
import { codeOf } from "../../../base/failure.ts";
import { ConnectionError, ReadOnlyError } from "./connection-errors.ts";
import { dial } from "./dial.ts";

export type Row = Readonly<Record<string, unknown>>;
export type Value = string | number | boolean | null;

export interface SessionOptions {
  readonly address: PostgresAddress;
  readonly host: PostgresHost;
  /** Called with each notification that the session listens to. */
  readonly onNotify?: ((payload: string) => void) | undefined;
}

/**
 * One connection to the database. When it is lost, every query rejects, also those to come: a statement is
 * never sent again over another connection, where its transaction does not exist.
 */
export class Session {
  readonly host: PostgresHost;
  readonly #sql: Sql;
  readonly #socket: Socket;
  readonly #rejects = new Set<(error: unknown) => void>();
  #isOpen = false;
  #lost: Error | undefined;
  /** Whether statements are prepared once for the whole session, and sent without waiting for the one before. */
  #prepares = true;

  private constructor(socket: Socket, { address, host, onNotify }: SessionOptions) {
    this.host = host;
    this.#socket = socket;
    // Before the listeners of the library, which would connect again.
    socket.once("close", () => this.#end(new ConnectionError("the server closed the connection")));
    socket.on("error", (error) => this.#end(error));
    const password = host.password?.reveal() ?? "";
    const options: Options<Record<string, PostgresType>> = {
      ...INERT,
      types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
      ...oneSocket(socket),
      user: address.user,
      database: address.database,
      // A text that is empty would be replaced from the environment.
      password: () => password,
      connect_timeout: address.connectTimeoutMs / 1000,
      connection: { application_name: address.applicationName },
      ...listening(onNotify),
    };
    this.#sql = postgres(options);
  }

  /**
   * Rejects if the host is not reached in time, does not let us in, or only reads. Where the mode leaves TLS open, a
   * connection that is not let in is tried once more, with or without TLS, as libpq does.
   */
  static async open(options: SessionOptions): Promise<Session> {
    const { address, host } = options;
    return withTimeout(address.connectTimeoutMs, undefined, async (signal) => {
      const [first, second] = MODES[address.tls.mode] ?? [address.tls.mode];
      try {
        return await Session.#open(options, first, signal);
      } catch (error) {
        // `hostssl` or `hostnossl` in pg_hba.conf. A wrong password is wrong either way.
        const isRefused = codeOf(error) === NOT_LET_IN && !host.host.startsWith("/");
        if (!isRefused || second === undefined) throw error;
        return await Session.#open(options, second, signal).catch((thrown: unknown) => {
          // What was wrong with TLS says more.
          throw first === "prefer" ? error : thrown;
        });
      }
    });
  }

  static async #open(options: SessionOptions, mode: Mode, signal: AbortSignal): Promise<Session> {
    const { address, host } = options;
    const session = new Session(await dial(host, { ...address.tls, mode }, signal), options);
    signal.addEventListener("abort", () => {
      if (!session.#isOpen) session.close(signal.reason);
    });
    try {
      const rows = await session.#run(() => session.#sql.unsafe(STATE));
      const [row] = rows;
      if (row?.["reads_only"] === true) throw new ReadOnlyError(host.host);
      // A pooler names another process.
      if (row?.["pid"] !== rows.state.pid) session.prepareEachTime();
      session.#isOpen = true;
      return session;
    } catch (error) {
      session.close();
      // The library ends a connection to a server that only reads with this.
      throw codeOf(error) === "CONNECTION_DESTROYED" ? new ReadOnlyError(host.host) : error;
    }
  }

  get isLost(): boolean {
    return this.#lost !== undefined;
  }

  /** Runs one statement; those of one turn of the event loop are sent together. */
  query(text: string, values: readonly Value[] = []): Promise<readonly Row[]> {
    return this.#run(() => this.#sql.unsafe(text, [...values], { prepare: this.#prepares }));
  }

  /** Runs several statements without values. */
  script(text: string): Promise<unknown> {
    return this.#run(() => this.#sql.unsafe(text));
  }

  /** For a pooler that gives each transaction another connection to the server: what was prepared is not there. */
  prepareEachTime(): void {
    this.#prepares = false;
  }

  /** Destroys the socket: a polite goodbye can hang. */
  close(why: unknown = new ConnectionError("the connection was closed")): void {
    this.#end(why instanceof Error ? why : new Error(String(why)));
  }

  #run<T>(start: () => PromiseLike<T>): Promise<T> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    return new Promise<T>((resolve, reject) => {
      this.#rejects.add(reject);
      start().then(
        (result) => {
          this.#rejects.delete(reject);
          resolve(result);
        },
        (error: unknown) => {
          this.#rejects.delete(reject);
          reject(error);
        },
      );
    });
  }

  #end(error: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    for (const reject of this.#rejects) reject(error);
    this.#rejects.clear();
    this.#socket.destroy();
    this.#sql.end({ timeout: 0 }).catch(() => {});
  }
}

type Mode = PostgresTls["mode"];

/** The modes of a first and a second attempt (PostgreSQL's documentation, section 34.19.3). */
const MODES: Partial<Record<Mode, readonly [Mode, Mode]>> = {
  allow: ["disable", "require"],
  prefer: ["prefer", "disable"],
};
/** SQLSTATE invalid_authorization_specification. */
const NOT_LET_IN = "28000";

const STATE = `SELECT pg_backend_pid() AS pid,
    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS reads_only`;

/** All that the library would take from the environment otherwise, or do by itself. */
const INERT = {
  host: "localhost",
  port: 5432,
  max: 1,
  ssl: false,
  max_lifetime: null,
  max_pipeline: 1000,
  backoff: () => 0,
  keep_alive: null,
  debug: false,
  fetch_types: false,
  no_subscribe: true,
  target_session_attrs: "read-write",
  onnotice: () => {},
} as const;

/** Lets the library use one socket, and open none. The types of the library lack this and `onnotify`. */
function oneSocket(socket: Socket) {
  let isTaken = false;
  return {
    socket() {
      if (isTaken) throw new ConnectionError("the connection is lost");
      isTaken = true;
      return socket;
    },
  };
}

function listening(onNotify: SessionOptions["onNotify"]) {
  return { onnotify: (_channel: string, payload: string) => onNotify?.(payload) };
}
