import type { HomeEntity } from "./contract.ts";

/** What people call the kinds of Home Assistant. */
const KINDS: Readonly<Record<string, string>> = {
  lamp: "light",
  bulb: "light",
  plug: "switch",
  socket: "switch",
  outlet: "switch",
  relay: "switch",
  blind: "cover",
  shutter: "cover",
  curtain: "cover",
  garage: "cover",
  thermostat: "climate",
  heating: "climate",
  radiator: "climate",
  heater: "climate",
  door: "lock",
};

export interface Wanted {
  readonly search?: string | undefined;
  readonly room?: string | undefined;
  readonly kind?: string | undefined;
}

/** The entities that have all of the words in their name, room or kind; those that people use first. */
export function matching(
  entities: readonly HomeEntity[],
  { search = "", room = "", kind = "" }: Wanted,
): readonly HomeEntity[] {
  const words = wordsOf(search);
  const rooms = wordsOf(room);
  const kinds = wordsOf(kind);
  const found = entities.filter((entity) => {
    const names = `${entity.name} ${entity.device} ${entity.room}`.toLowerCase();
    const types = `${entity.kind} ${entity.deviceClass}`.toLowerCase();
    return (
      words.every((word) => hasWord(names, word) || isKind(types, word) || entity.id === search) &&
      rooms.every((word) => hasWord(names, word)) &&
      kinds.every((word) => isKind(types, word))
    );
  });
  return found.toSorted(
    (one, other) =>
      Number(one.isDiagnostic) - Number(other.isDiagnostic) || compare(one.name, other.name),
  );
}

function compare(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

/** Letters and digits of any script. */
export function wordsOf(text: string): readonly string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

function hasWord(text: string, word: string): boolean {
  return text.includes(word) || (word.length > 3 && text.includes(singular(word)));
}

function isKind(types: string, word: string): boolean {
  const one = singular(word);
  const kind = Object.hasOwn(KINDS, one) ? KINDS[one] : undefined;
  return (
    types.includes(word) || types.includes(one) || (kind !== undefined && types.includes(kind))
  );
}

function singular(word: string): string {
  return word.endsWith("s") ? word.slice(0, -1) : word;
}
