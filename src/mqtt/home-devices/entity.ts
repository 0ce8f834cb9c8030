import type { HomeValue } from "../../base/contract.ts";
import { fromJson, isObject } from "../../base/unknown.ts";
import { hexOf, type ColourForm } from "./colour.ts";
import type { StateTopic } from "./state-topics.ts";
import { isValue, type CommandForm, type ValueTemplate } from "./value-template.ts";

/** One thing of a device that can be read or set, as it was discovered. */
export interface Entity {
  readonly id: string;
  /** Home Assistant's platform: `light`, `sensor`. */
  readonly kind: string;
  readonly name: string;
  readonly device: HomeDevice;
  readonly deviceClass: string;
  /** It tells something about the device, or configures it. */
  readonly isDiagnostic: boolean;
  readonly features: readonly Feature[];
  readonly availability: Availability;
  /** Characters of what is kept for this entity. */
  readonly size: number;
}

/** Shared by the entities of a device. */
export interface HomeDevice {
  readonly name: string;
  readonly room: string;
}

/** A property: `state`, `brightness`, `temperature`. */
export interface Feature {
  readonly name: string;
  readonly values: Values;
  /** Where it is read; absent if the device does not report it, or in a form that is not read. */
  readonly source: Source | undefined;
  /** How it is set; absent if it is only read. */
  readonly command: Command | undefined;
  /** It has no command to turn on, but is on as soon as it has a brightness. */
  readonly isOnByBrightness?: true;
}

export interface Source {
  readonly topic: StateTopic;
  readonly template: ValueTemplate | undefined;
}

export interface Command {
  readonly topic: string;
  readonly form: CommandForm;
}

/** What a feature can be. */
export type Values = Choice | Range | Colour | Text | Anything;

/** One of a few words. */
export interface Choice {
  readonly type: "choice";
  readonly words: readonly string[];
  /** What is published for each of the first words; those after them are only reported. */
  readonly payloads: readonly string[];
  /** What the device reports for each word. */
  readonly states: readonly string[];
  /** The position at which a cover is closed, if the device reports its position alone: else it is open. */
  readonly closedAt: number | undefined;
}

/** A number between two. */
export interface Range {
  readonly type: "range";
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly unit: string;
  /** What the device calls `min` and `max`; a percentage of its own range, or mireds for kelvin. */
  readonly device: "same" | "mireds" | { readonly from: number; readonly to: number };
}

export interface Colour {
  readonly type: "colour";
  readonly form: ColourForm;
}

/** A text of some characters. */
export interface Text {
  readonly type: "text";
  readonly min: number;
  readonly max: number;
}

export interface Anything {
  readonly type: "any";
  readonly unit: string;
  /** Where the value is if the device reports a JSON object. */
  readonly key: string | undefined;
}

export interface Availability {
  readonly mode: string;
  readonly sources: readonly AvailabilitySource[];
}

export interface AvailabilitySource extends Source {
  readonly available: string;
  readonly unavailable: string;
}

/** What a feature is now, in the words of `Values`; undefined if it is not known. */
export function readFeature({ source, values }: Feature): HomeValue | undefined {
  const raw = source?.topic.read(source.template);
  // What Python writes for nothing is a state only where it is an option.
  const isNothing = raw === "None" && !(values.type === "choice" && values.states.includes(raw));
  return raw === undefined || isNothing ? undefined : inWords(values, raw);
}

function inWords(values: Values, found: unknown): HomeValue | undefined {
  if (values.type === "colour") return hexOf(values.form, found);
  const raw = values.type === "any" ? underKey(values, found) : found;
  if (!isValue(raw)) return undefined;
  if (values.type === "range") return fromDevice(values, raw);
  if (values.type !== "choice") return raw;
  if (values.closedAt !== undefined) return Number(raw) === values.closedAt ? "closed" : "open";
  const index = values.states.findIndex((state) => isSame(state, raw));
  return index === -1 ? raw : values.words[index];
}

function underKey({ key }: Anything, found: unknown): unknown {
  if (key === undefined || typeof found !== "string" || !found.startsWith("{")) return found;
  try {
    const object = fromJson(found);
    return isObject(object) ? object[key] : undefined;
  } catch {
    return undefined;
  }
}

function fromDevice({ device, min, max }: Range, value: HomeValue): number | undefined {
  const raw = value === "" ? Number.NaN : Number(value);
  if (!Number.isFinite(raw)) return undefined;
  if (device === "same") return raw;
  if (device === "mireds") return raw > 0 ? Math.round(1_000_000 / raw) : undefined;
  const share = (raw - device.from) / (device.to - device.from);
  return Math.round(min + share * (max - min));
}

/** The device's number for one in our words. */
export function toDevice({ device, min, max }: Range, value: number): number {
  if (device === "same") return value;
  if (device === "mireds") return Math.round(1_000_000 / value);
  const share = (value - min) / (max - min);
  return Math.round(device.from + share * (device.to - device.from));
}

/** Whether two values are the same text; truth values are also written `True` and `False`. */
export function isSame(one: HomeValue, other: HomeValue): boolean {
  const [left, right] = [String(one), String(other)];
  if (left === right) return true;
  const isTruth = typeof one === "boolean" || typeof other === "boolean";
  return isTruth && left.toLowerCase() === right.toLowerCase();
}

/** Whether the device can be reached; undefined if it does not say so. */
export function isOnline(
  { mode, sources }: Availability,
  mayRead: (topic: string) => boolean,
): boolean | undefined {
  const known = sources
    .filter(({ topic }) => topic.names.every(mayRead))
    .flatMap((source) => {
      const value = source.topic.read(source.template);
      if (!isValue(value)) return [];
      const at = source.topic.heardAt;
      if (isSame(value, source.available)) return [{ isUp: true, at }];
      return isSame(value, source.unavailable) ? [{ isUp: false, at }] : [];
    });
  if (known.length === 0) return undefined;
  if (mode === "any") return known.some(({ isUp }) => isUp);
  if (mode === "latest") return known.toSorted((a, b) => b.at - a.at)[0]?.isUp;
  if (known.some(({ isUp }) => !isUp)) return false;
  return known.length === sources.length ? true : undefined;
}
