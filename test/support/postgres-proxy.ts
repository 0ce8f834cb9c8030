import { startProxy, type Proxy } from "./proxy.ts";

/** A way to PostgreSQL, without TLS, that can be cut at the moments at which the outcome of a transaction is unknown. */
export interface PostgresProxy extends Proxy {
  /**
   * Cuts the next connection that commits: `before` the server gets COMMIT, so that nothing is written, or
   * `after` it answered, so that all is written. The client gets neither answer. Resolves when that happened.
   */
  cutAtCommit(when: "before" | "after"): Promise<void>;
}

const COMMIT_QUERY = Buffer.from("commit\0");
/** CommandComplete: its type, its length, its tag. */
const COMMITTED = Buffer.from("C\0\0\0\u000bCOMMIT\0");

export async function startPostgresProxy(port: number): Promise<PostgresProxy> {
  let waiting: { readonly when: "before" | "after"; resolve(): void } | undefined;
  const cuts = (data: Buffer, from: "client" | "server"): boolean => {
    const isAwaited =
      waiting?.when === "before"
        ? from === "client" && data.includes(COMMIT_QUERY)
        : from === "server" && data.includes(COMMITTED);
    if (waiting === undefined || !isAwaited) return false;
    waiting.resolve();
    waiting = undefined;
    return true;
  };
  const proxy = await startProxy(port, cuts);
  return {
    ...proxy,
    cutAtCommit(when) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting = { when, resolve };
      return promise;
    },
  };
}
