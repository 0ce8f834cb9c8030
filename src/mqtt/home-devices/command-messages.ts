import type { HomeValue } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { channelsOf, colourValue } from "./colour.ts";
import { readFeature, toDevice } from "./entity.ts";
import type { Choice, Command, Feature, Range, Text } from "./entity.ts";
import { textOf } from "./template/values.ts";
import type { CommandForm } from "./value-template.ts";

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
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  true: ["on"],
  false: ["off"],
  close: ["closed"],
  stop: ["stopped", "idle"],
  lock: ["locked"],
  unlock: ["unlocked"],
  press: ["pressed"],
  start: ["cleaning"],
  clean: ["cleaning"],
  pause: ["paused"],
  dock: ["returning"],
  return: ["returning"],
};

/**
 * The value in the words of the feature. Throws a `Failure` of code `bad_request` that says what is possible, if it
 * is not.
 */
export function checkedValue(feature: Feature, wanted: HomeValue): HomeValue {
  const { name, values } = feature;
  if (values.type === "range") return within(name, values, wanted);
  if (values.type === "choice") {
    return chosen(name, values, isToggle(feature, wanted) ? toggled(feature) : wanted);
  }
  if (values.type === "any") throw wrong(`${name} is only reported`);
  if (values.type === "text") return written(name, values, wanted);
  const hex = /^#?([0-9a-f]{6})$/i.exec(String(wanted).trim())?.[1];
  if (hex === undefined) throw wrong(`${name} is a colour, such as #ff8800`);
  return `#${hex.toLowerCase()}`;
}

/** Whether the other of two states is wanted, and not an option that is called so. */
export function isToggle({ values }: Feature, wanted: HomeValue): boolean {
  return wanted === "toggle" && values.type === "choice" && !values.words.includes("toggle");
}

function chosen(name: string, { words, payloads }: Choice, wanted: HomeValue): string {
  const settable = words.slice(0, payloads.length);
  const text = String(wanted).trim().toLowerCase();
  const matches = (word: string): boolean => word.toLowerCase() === text;
  const synonyms = Object.hasOwn(SYNONYMS, text) ? SYNONYMS[text] : undefined;
  const found = settable.find(matches) ?? settable.find((word) => synonyms?.includes(word));
  if (found === undefined) throw wrong(`${name} is one of ${settable.join(", ")}`);
  return found;
}

function written(name: string, { min, max }: Text, wanted: HomeValue): string {
  const text = String(wanted);
  if (text.length >= min && text.length <= max) return text;
  throw wrong(`${name} is a text of ${min} to ${max} characters`);
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

/**
 * The messages that make these changes: those of one JSON object together. Throws a `Failure` of code `bad_request`
 * for a value that the device's template makes no command of.
 */
export function messagesOf(changes: readonly Change[]): readonly CommandMessage[] {
  const objects = new Map<string, Record<string, unknown>>();
  const messages: CommandMessage[] = [];
  for (const change of changes) {
    const { topic, form } = change.command;
    if (form.type === "json") {
      objects.set(topic, { ...objects.get(topic), [form.key]: deviceValue(change) });
    } else messages.push({ topic, payload: payloadOf(change, form) });
  }
  for (const [topic, object] of objects) messages.push({ topic, payload: JSON.stringify(object) });
  return messages;
}

function payloadOf(change: Change, form: Exclude<CommandForm, { type: "json" }>): string {
  if (form.type === "template") return madeOf(change, form);
  const { before, after } = form;
  const value = deviceValue(change);
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return before + escapedFor(form, text) + after;
}

type TemplateForm = Extract<CommandForm, { type: "template" }>;

function madeOf(change: Change, { template, name }: TemplateForm): string {
  const { feature, value } = change;
  const variables = new Map<string, unknown>([[name, deviceValue(change)]]);
  if (feature.values.type === "colour") {
    const channels = Object.entries(channelsOf(String(value)));
    for (const [channel, one] of channels) variables.set(channel, one);
  }
  try {
    const text = textOf(template.evaluate(variables));
    if (text !== "") return text;
  } catch {
    // Said below.
  }
  throw wrong(`${feature.name} cannot be set to ${String(value)}`);
}

/** Inside of quotes the value is a part of a JSON string. */
function escapedFor({ before, after }: { before: string; after: string }, text: string): string {
  const isQuoted = before.endsWith('"') && after.startsWith('"');
  return isQuoted ? JSON.stringify(text).slice(1, -1) : text;
}

/** The value in the words of the device. */
function deviceValue({ feature: { values }, value }: Change): string | number | object {
  if (values.type === "choice") return values.payloads[values.words.indexOf(String(value))] ?? "";
  if (values.type === "range") return toDevice(values, Number(value));
  return values.type === "colour" ? colourValue(values.form, String(value)) : String(value);
}
