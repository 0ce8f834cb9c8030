import type { HomeValue } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { readFeature, toDevice } from "./entity.ts";
import type { Choice, Colour, Command, Feature, Range } from "./entity.ts";

/** A value that a feature shall have. */
export interface Change {
  readonly feature: Feature;
  readonly command: Command;
  /** In the words of `Values`. */
  readonly value: HomeValue;
}

export interface CommandMessage {
  readonly topic: string;
  readonly payload: string;
}

/** What people and models say for the words of a choice. */
const SYNONYMS: Readonly<Record<string, string>> = {
  true: "on",
  false: "off",
  open: "open",
  close: "closed",
  stop: "stopped",
  lock: "locked",
  unlock: "unlocked",
  press: "pressed",
};

/**
 * The value in the words of the feature. Throws a `Failure` of code `bad_request` that says what is possible, if it
 * is not.
 */
export function checkedValue(feature: Feature, wanted: HomeValue): HomeValue {
  const { name, values } = feature;
  if (values.type === "range") return within(name, values, wanted);
  if (values.type === "choice") {
    return chosen(name, values, wanted === "toggle" ? toggled(feature) : wanted);
  }
  if (values.type === "any") throw wrong(`${name} is only reported`);
  const hex = /^#?([0-9a-f]{6})$/i.exec(String(wanted).trim())?.[1];
  if (hex === undefined) throw wrong(`${name} is a colour, such as #ff8800`);
  return `#${hex.toLowerCase()}`;
}

function chosen(name: string, { words, payloads }: Choice, wanted: HomeValue): string {
  const settable = words.slice(0, payloads.length);
  const text = String(wanted).trim().toLowerCase();
  const matches = (word: string): boolean => word.toLowerCase() === text;
  const found = settable.find(matches) ?? settable.find((word) => word === SYNONYMS[text]);
  if (found === undefined) throw wrong(`${name} is one of ${settable.join(", ")}`);
  return found;
}

function toggled(feature: Feature): string {
  const now = readFeature(feature);
  if (now === "on") return "off";
  if (now === "off") return "on";
  throw wrong(`${feature.name} is not known, so that it cannot be toggled: say on or off`);
}

function within(name: string, { min, max, step, unit }: Range, wanted: HomeValue): number {
  const number = typeof wanted === "number" ? wanted : Number(String(wanted).trim() || Number.NaN);
  if (!(number >= min && number <= max)) {
    throw wrong(`${name} is a number from ${min} to ${max}${unit === "" ? "" : ` ${unit}`}`);
  }
  // The nearest step, without the noise of binary fractions.
  const stepped = min + Math.round((number - min) / step) * step;
  return Number(Math.min(stepped, max).toFixed(6));
}

function wrong(message: string): Failure {
  return new Failure("bad_request", message);
}

/** The messages that make these changes: those of one JSON object together. */
export function messagesOf(changes: readonly Change[]): readonly CommandMessage[] {
  const objects = new Map<string, Record<string, unknown>>();
  const messages: CommandMessage[] = [];
  for (const change of changes) {
    const { topic, form } = change.command;
    if (form.type === "text") {
      const { before, after } = form;
      messages.push({ topic, payload: before + escapedFor(form, textOf(change)) + after });
    } else objects.set(topic, { ...objects.get(topic), [form.key]: jsonOf(change) });
  }
  for (const [topic, object] of objects) messages.push({ topic, payload: JSON.stringify(object) });
  return messages;
}

/** Inside of quotes the value is a part of a JSON string. */
function escapedFor({ before, after }: { before: string; after: string }, text: string): string {
  const isQuoted = before.endsWith('"') && after.startsWith('"');
  return isQuoted ? JSON.stringify(text).slice(1, -1) : text;
}

function textOf({ feature: { values }, value }: Change): string {
  if (values.type === "choice") return values.payloads[values.words.indexOf(String(value))] ?? "";
  if (values.type === "range") return String(toDevice(values, Number(value)));
  return values.type === "colour" ? colourText(values, String(value)) : String(value);
}

function colourText({ form }: Colour, hex: string): string {
  return form === "hex" ? hex : channelsOf(hex).join(",");
}

function jsonOf(change: Change): unknown {
  const { values } = change.feature;
  if (values.type === "range") return toDevice(values, Number(change.value));
  if (values.type !== "colour") return textOf(change);
  const [r, g, b] = channelsOf(String(change.value));
  return { r, g, b };
}

function channelsOf(hex: string): readonly number[] {
  return [1, 3, 5].map((start) => Number.parseInt(hex.slice(start, start + 2), 16));
}
