import { TimeoutError } from "../../base/async.ts";
import type { PostgresAddress } from "../../base/contract.ts";
import { asFailure, codeOf, Failure, messageOf } from "../../base/failure.ts";
import { networkMessage } from "../../base/network-error.ts";
import { authorityOf } from "../../base/url.ts";
import { ConflictError, ConnectionError, ReadOnlyError } from "./connection/connection-errors.ts";

/**
 * What became of a transaction that failed: `busy` has written nothing and may succeed later, `refused` has written
 * nothing and fails again with the same values, `repeat` has written nothing and may succeed at once, `unprepared`
 * likewise when its statements are not prepared. Of an `unsure` one COMMIT was sent, and no answer came.
 */
export type Outcome = "busy" | "refused" | "repeat" | "unprepared" | "unsure";

/** Codes of SQLSTATE (PostgreSQL's documentation, appendix A). */
const UNPREPARED = /^(?:26000|42P05)$/;
const REPEAT = /^40/;
const DATA = /^(?:0A|2[0-4]|42|44|54)/;
const MISSING = /^42(?:501|P01|P06|703)|^3F000/;

export function outcomeOf(error: unknown, isCommitSent: boolean): Outcome {
  const code = stateOf(error);
  if (error instanceof ConflictError) return "repeat";
  if (isCommitSent && (code === undefined || isFatal(error))) return "unsure";
  if (code === undefined) return error instanceof Failure || isLoss(error) ? "busy" : "refused";
  if (UNPREPARED.test(code)) return "unprepared";
  if (REPEAT.test(code)) return "repeat";
  return DATA.test(code) && !MISSING.test(code) ? "refused" : "busy";
}

function isLoss(error: unknown): boolean {
  return (
    error instanceof ConnectionError ||
    error instanceof TimeoutError ||
    /^(?:E[A-Z_]+|CONNECT|ERR_)/.test(codeOf(error))
  );
}

/** The SQLSTATE of an error of the server. */
function stateOf(error: unknown): string | undefined {
  const code = codeOf(error);
  return error instanceof Error && "severity" in error && /^[0-9A-Z]{5}$/.test(code)
    ? code
    : undefined;
}

function isFatal(error: unknown): boolean {
  return error instanceof Error && "severity" in error && error["severity"] !== "ERROR";
}

/** The server answered, and lets this user in no way: asking again does not help. */
export function isRefusal(error: unknown): boolean {
  return /^(?:28|3D000|42501)/.test(stateOf(error) ?? "");
}

const RETRY_AFTER_S = 30;
const MESSAGES: Readonly<Record<"busy" | "unsure" | "refused", string>> = {
  busy: "requests cannot be stored at the moment, please ask again later",
  unsure: "it is not known whether the request was stored, please ask again later",
  refused: "the database refuses a value",
};

/** What the caller of the store gets; it names the host and no secret. */
export function failureOf(
  error: unknown,
  outcome: Outcome,
  { address, host }: { readonly address: PostgresAddress; readonly host?: string | undefined },
): Failure {
  if (error instanceof Failure) return error;
  if (outcome === "refused" && stateOf(error) === undefined) return asFailure(error);
  const where = `the database at ${host ?? hostsOf(address)}`;
  const [why, remedy] = wordsOf(error, address);
  const kind = outcome === "unsure" || outcome === "refused" ? outcome : "busy";
  return new Failure(kind === "refused" ? "internal" : kind, MESSAGES[kind], {
    why: `${where}: ${why}`,
    remedy,
    ...(kind !== "refused" && { retryAfter: RETRY_AFTER_S }),
  });
}

const USUAL_PORT = 5432;

/** The hosts as they are written, for a sentence. */
export function hostsOf({ hosts }: PostgresAddress): string {
  const written = hosts.map(({ host, port }) => {
    if (port === USUAL_PORT || host.startsWith("/")) return host;
    return authorityOf(host, port);
  });
  return written.join(", ");
}

/** Why it failed, and what to do. */
function wordsOf(error: unknown, { user, database }: PostgresAddress): readonly [string, string] {
  const code = stateOf(error);
  if (error instanceof ReadOnlyError) return [error.message, READ_ONLY];
  if (error instanceof TimeoutError) return ["it does not answer in time", REACH];
  if (code === undefined) {
    const isServer = error instanceof ConnectionError;
    return [isServer ? error.message : networkMessage(error), REACH];
  }
  const remedies: readonly (readonly [RegExp, string])[] = [
    [/^28/, `check the user ${user} of gateway.store, its password, and pg_hba.conf`],
    [/^3D000/, `create it: createdb --owner ${user} ${database}`],
    [/^53100/, "free space on the disk of the database"],
    [/^53300/, "raise max_connections of PostgreSQL, or put pgbouncer before it"],
    [/^25006/, READ_ONLY],
    [/^57P0/, "wait until PostgreSQL has started again"],
    [/^(?:40|55P03|57014)/, "look at pg_stat_activity for what holds it up"],
    [/^(?:42501|3F000)/, `let the user ${user} create and change the schema picoclaw`],
  ];
  const known = remedies.find(([pattern]) => pattern.test(code))?.[1];
  return [`${messageOf(error)} (${code})`, known ?? "look at the log of PostgreSQL"];
}

const REACH = "check that PostgreSQL runs there and can be reached from here";
const READ_ONLY = "name all hosts of the cluster in gateway.store, so that the primary is found";
