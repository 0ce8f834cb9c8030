import { createHash } from "node:crypto";

/** Under what Go PicoClaw keeps a conversation: a key, and whether only its own record proves that. */
export interface GoKey {
  readonly key: string;
  /** Another key may have the same file name: it counts only where the file says whose it is. */
  readonly isAmbiguous: boolean;
}

/** What may stand in a file name here; a client id is anybody's text. */
const SAFE = /^[\w.:@-]{1,128}$/;

/**
 * The keys of a client of MQTT, the likeliest first. Case does not count there. A client id is what
 * somebody calls itself: each of these keys holds it in a way in which nobody else's conversation, and
 * none of another channel, can be meant.
 */
export function keysOfClient(client: string): readonly GoKey[] {
  // Behind a bar more of the scope begins.
  if (client.includes("|")) return [];
  const scope = `channel=mqtt|account=default|chat=direct:mqtt:${client}`;
  // With a colon `telegram:7` would be the peer of another channel.
  if (client.includes(":")) return [hashed(scope)];
  const older = [
    "agent:main:mqtt:default:direct:",
    "agent:main:mqtt:default:direct:mqtt:",
    "agent:main:mqtt:direct:",
    "agent:main:mqtt:direct:mqtt:",
    "agent:main:direct:mqtt:",
  ];
  return [hashed(scope), ...older.flatMap((begin) => named(client, begin + client))];
}

/** The keys of a session of the command `agent`. */
export function keysOfSession(name: string): readonly GoKey[] {
  return [
    hashed(`channel=cli|account=default|chat=direct:${name}`),
    // Who asks here may read the folder anyway.
    ...named(name, name).map(({ key }) => ({ key, isAmbiguous: false })),
  ];
}

/** The keys of the conversation that all clients shared; `agent:main:main` may hold any channel's words. */
export const SHARED_KEYS: readonly GoKey[] = [hashed("channel=mqtt|account=default")];

/** The name of a key's files, without their ends; never a path. */
export function fileNameOf({ key }: GoKey): string {
  return key.replaceAll(/[:/\\]/g, "_");
}

function hashed(scope: string): GoKey {
  const text = `v=1|agent=main|${scope}`.toLowerCase();
  return { key: `sk_v1_${createHash("sha256").update(text).digest("hex")}`, isAmbiguous: false };
}

function named(id: string, key: string): readonly GoKey[] {
  if (!SAFE.test(id)) return [];
  // Of `a:b` and `a_b` the file names are the same.
  return [{ key: key.toLowerCase(), isAmbiguous: /[:_]/.test(id) }];
}
