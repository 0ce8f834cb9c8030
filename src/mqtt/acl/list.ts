import type { Grant, Rights } from "./rights.ts";

/** How the broker identifies a device; its topics contain this name. */
export type AclIdentity = "user" | "client";

export interface ListFacts {
  readonly rights: Rights;
  /** The gateway's user name. */
  readonly gateway: string;
  readonly by: AclIdentity;
  /** For people. */
  readonly notes: readonly string[];
}

export type Writer = (facts: ListFacts) => string;

/** What every list says first. */
export function headOf({ by, notes }: ListFacts, checked: string): readonly string[] {
  return [...PURPOSE, ...identity(by, checked), ...notes];
}

const PURPOSE = [
  "The gateway knows a client only by the client level of its topics.",
  "With this list the broker lets each device use only the level of its own name.",
];

function identity(by: AclIdentity, checked: string): string[] {
  if (by === "client") {
    return [`A device is identified by its client id, which must be checked, too: ${checked}.`];
  }
  return ["A device is identified by its user name: each device has its own user."];
}

export const OTHERS = [
  "A response topic that a device chooses (MQTT 5) needs two more lines: the gateway writes it, the device reads it.",
  "picoclaw send acts as a device: give it that device's user with --user.",
];

export function commented(marker: string, texts: readonly string[]): readonly string[] {
  return texts.map((text) => `${marker} ${text}`);
}

/** The lines of the gateway's rights, each part under what turns it on. */
export function gatewayLines(
  marker: string,
  { gateway }: Rights,
  linesOf: (grants: readonly Grant[]) => readonly string[],
): readonly string[] {
  return gateway.flatMap(({ about, gateway: grants }) => [
    ...(about === undefined ? [] : commented(marker, [about])),
    ...linesOf(grants),
  ]);
}
