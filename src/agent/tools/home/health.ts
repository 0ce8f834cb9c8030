import type { HomeValue } from "../../../base/contract.ts";
import type { FoundEntities, HomeEntity } from "./contract.ts";
import { shown } from "./describe.ts";

/** Percent of a battery, and link quality (0 to 255) and signal strength (dBm), below which it is said. */
const LOW_BATTERY = 20;
const WEAK_LINK = 40;
const WEAK_SIGNAL = -85;
/** Devices that are named in one line. */
const MAX_NAMED = 40;

/** What can be asked about the devices as a whole. */
export const HEALTH_FACTS = ["offline", "battery", "link"] as const;
export type HealthFact = (typeof HEALTH_FACTS)[number];

/** One line for each fact: which devices are offline, have a low battery, a weak link. */
export function healthText(
  found: FoundEntities,
  facts: readonly HealthFact[] = HEALTH_FACTS,
): string {
  const { entities } = found;
  if (entities.length === 0)
    return "No devices are announced on the broker that this client may see; picoclaw doctor tells the owner why.";
  const lines = facts.map((fact) => LINES[fact](entities));
  return [...lines, ...remarks(found)].join("\n");
}

/** What is not as it seems. */
export function remarks({ isCut, isOld }: Omit<FoundEntities, "entities">): readonly string[] {
  return [
    ...(isCut ? ["There are more devices than are looked at."] : []),
    ...(isOld ? ["The broker is not connected now: this is how it was before."] : []),
  ];
}

const LINES: Readonly<Record<HealthFact, (entities: readonly HomeEntity[]) => string>> = {
  offline(entities) {
    const online = new Map<string, boolean>();
    for (const entity of entities) {
      const is = entity.isOnline();
      if (is !== undefined) online.set(entity.device, is && online.get(entity.device) !== false);
    }
    const away = [...online].filter(([, is]) => !is).map(([device]) => shown(device));
    return lineOf("Offline", away, online.size, "devices that report whether they are online");
  },
  battery(entities) {
    const all = eachOnce(readingsOf(entities, (entity) => entity.deviceClass === "battery"));
    const low = all.filter(({ value }) => value === "on" || Number(value) < LOW_BATTERY);
    const named = low.map(({ device, value }) =>
      value === "on" ? shown(device) : `${shown(device)} ${shown(String(value))} %`,
    );
    return lineOf("Battery low", named, all.length, "devices that report a battery");
  },
  link(entities) {
    const all = readingsOf(
      entities,
      ({ deviceClass, name }) => deviceClass === "signal_strength" || /link ?quality$/i.test(name),
    );
    const weak = all.filter(({ value }) => {
      const strength = Number(value);
      return strength < 0 ? strength < WEAK_SIGNAL : strength < WEAK_LINK;
    });
    const named = weak.map(({ device, value }) => `${shown(device)} ${shown(String(value))}`);
    return lineOf("Weak link", named, all.length, "devices that report a link");
  },
};

interface Reading {
  readonly device: string;
  readonly value: HomeValue;
}

/** One for each device: a percentage, if it has that and a warning too. */
function eachOnce(readings: readonly Reading[]): readonly Reading[] {
  const found = new Map<string, Reading>();
  for (const reading of readings) {
    const before = found.get(reading.device);
    if (before === undefined || Number.isNaN(Number(before.value)))
      found.set(reading.device, reading);
  }
  return [...found.values()];
}

function readingsOf(
  entities: readonly HomeEntity[],
  isOne: (entity: HomeEntity) => boolean,
): readonly Reading[] {
  return entities.filter(isOne).flatMap((entity) => {
    const value = entity.readings().find(({ name }) => name === "state")?.value;
    return value === undefined ? [] : [{ device: entity.device, value }];
  });
}

function lineOf(what: string, named: readonly string[], of: number, whom: string): string {
  if (of === 0) return `${what}: unknown, there are no ${whom}.`;
  if (named.length === 0) return `${what}: none of ${of} ${whom}.`;
  const some = named.slice(0, MAX_NAMED).join(", ");
  const rest = named.length > MAX_NAMED ? `, and ${named.length - MAX_NAMED} more` : "";
  return `${what}: ${some}${rest} (${named.length} of ${of} ${whom}).`;
}
