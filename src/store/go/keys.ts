import { createHash } from "node:crypto";

/** Under what Go PicoClaw keeps a conversation: a key, and whether only its own record proves that. */
export interface GoKey {
  readonly key: string;
  /** Another key may have the same file name: it counts only where the file says whose it is. */
  readonly isAmbiguous: boolean;
}

/** What may stand in a file name here; a client id is anybody's text. */
const SAFE = /^[\w.:@-]{1,128}$/;

/** The keys of a client of MQTT, the likeliest first. Case does not count there. */
export function keysOfClient(client: string): readonly GoKey[] {
  const peers = [client, `mqtt:${client}`];
  const older = ["agent:main:mqtt:default:direct", "agent:main:mqtt:direct", "agent:main:direct"];
  return [
    hashed(`channel=mqtt|account=default|chat=direct:mqtt:${client}`),
    ...older.flatMap((begin) => peers.flatMap((peer) => named(client, `${begin}:${peer}`))),
  ];
}

/** The keys of a session of the command `agent`. */
export function keysOfSession(name: string): readonly GoKey[] {
  return [
    hashed(`channel=cli|account=default|chat=direct:${name}`),
    // Who asks here may read the folder anyway.
    ...named(name, name).map(({ key }) => ({ key, isAmbiguous: false })),
  ];
}

/** The keys of the conversation that all clients shared. */
export const SHARED_KEYS: readonly GoKey[] = [
  hashed("channel=mqtt|account=default"),
  { key: "agent:main:main", isAmbiguous: false },
];

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
