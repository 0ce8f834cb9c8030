import { keyOf } from "../keys.ts";
import type { Query } from "./connections.ts";

/** Tells an owner, or all with "", that there may be something to poll, as soon as the transaction is written. */
export async function sendHint(query: Query, owner: string): Promise<void> {
  await query("SELECT pg_notify('picoclaw', $1)", [keyOf(owner)]);
}
