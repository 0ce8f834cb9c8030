import { createHash } from "node:crypto";

/** A key under which Go PicoClaw stores a conversation. */
export interface GoKey {
  readonly key: string;
  /** Another key may have the same file name: the file counts only if its metadata names this key. */
  readonly isAmbiguous: boolean;
}

/** Client ids that may be part of a file name; a client id may be any text. */
const SAFE = /^[\w.:@-]{1,128}$/;

/**
 * The keys of an MQTT client, the likeliest first. Keys ignore case. A client chooses its id: each of these
 * keys contains it in a way that cannot mean the conversation of another client or channel.
 */
export function keysOfClient(client: string): readonly GoKey[] {
  // A bar would begin another part of the scope.
  if (client.includes("|")) return [];
  const scope = `channel=mqtt|account=default|chat=direct:mqtt:${client}`;
  // With a colon, `telegram:7` would be a peer of another channel.
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
    // A user of this command may read the folder anyway.
    ...named(name, name).map(({ key }) => ({ key, isAmbiguous: false })),
  ];
}

/** The keys of the conversation that all clients share. `agent:main:main` is not one: it may hold messages of any channel. */
export const SHARED_KEYS: readonly GoKey[] = [hashed("channel=mqtt|account=default")];

/** The name of the files of a key, without their extensions; never a path. */
export function fileNameOf({ key }: GoKey): string {
  return key.replaceAll(/[:/\\]/g, "_");
}

function hashed(scope: string): GoKey {
  const text = `v=1|agent=main|${scope}`.toLowerCase();
  return { key: `sk_v1_${createHash("sha256").update(text).digest("hex")}`, isAmbiguous: false };
}

function named(id: string, key: string): readonly GoKey[] {
  if (!SAFE.test(id)) return [];
  // `a:b` and `a_b` have the same file name.
  return [{ key: key.toLowerCase(), isAmbiguous: /[:_]/.test(id) }];
}
