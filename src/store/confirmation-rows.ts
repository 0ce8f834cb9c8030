import type { Confirmation, NewConfirmation } from "./contract/confirmations.ts";
import { fromJson } from "./json.ts";

/** The columns of a confirmation, in either database. */
export const CONFIRMATION_COLUMNS = "state, until, decided_by, confirmation";

/** How long a closed one is known after its time, in milliseconds. */
const KNOWN_MS = 24 * 60 * 60_000;

/** Those that were closed before are forgotten. */
export function forgottenBefore(now: number): number {
  return now - KNOWN_MS;
}

/** Of one client; no two clients have the same. */
export function confirmingClient({ channel, client }: Pick<NewConfirmation, "channel" | "client">) {
  return JSON.stringify([channel, client]);
}

export function confirmationText(wanted: NewConfirmation): string {
  const { id, channel, client, tool, arguments: words, by, question } = wanted;
  return JSON.stringify({ id, channel, client, tool, arguments: words, by, question });
}

export function confirmationOf(row: Readonly<Record<string, unknown>>): Confirmation {
  const decidedBy = row["decided_by"];
  return {
    ...fromJson<Omit<NewConfirmation, "until">>(row["confirmation"]),
    // Only this program writes the column.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    state: String(row["state"]) as Confirmation["state"],
    until: Number(row["until"]),
    ...(typeof decidedBy === "string" && { decidedBy: fromJson<string>(decidedBy) }),
  };
}
