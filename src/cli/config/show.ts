import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { locationOf, problemsFailure } from "../../config/findings.ts";
import type { Inspection } from "../../config/load.ts";
import { type Place, placeNamed, type Setting, settingsAt } from "../../config/settings.ts";
import type { Path } from "../../config/tree.ts";
import { configFlagsOf, inspect } from "../connection.ts";
import type { Context } from "../context.ts";

/** `picoclaw config show [key]`: the configuration in force, one key a line. */
export async function show(context: Context): Promise<number> {
  const { host, words, flags } = context;
  const { inspection, redact } = await inspected(context);
  const place = placeOf(words[1] ?? "", inspection);
  for (const setting of settingsWithin(inspection, place)) {
    const line = flags.has("json")
      ? settingJson(setting)
      : settingText(setting, flags.has("origin"));
    await host.stdout.write(redact(line));
  }
  return 0;
}

/** `picoclaw config get KEY`: one value as it is; exit 1 if it is not set. */
export async function get(context: Context): Promise<number> {
  const { host, words, flags } = context;
  const name = words[1];
  if (name === undefined) {
    throw new Failure("usage", "config get: a key is missing", {
      remedy: "picoclaw config show lists them",
    });
  }
  const { inspection, redact } = await inspected(context);
  const place = placeOf(name, inspection);
  const settings = settingsWithin(inspection, place);
  const [only] = settings;
  const value = place.row.kind === "key" ? only?.value : nestedIn(settings, place.path);
  if (value === undefined) {
    throw new Failure("failed", `${name} is not set`, { why: `default: ${only?.otherwise}` });
  }
  const isLine = flags.has("json") && only !== undefined;
  const text = isLine ? settingJson({ ...only, key: name, value }) : `${plainText(value)}\n`;
  await host.stdout.write(redact(text));
  return 0;
}

/** Texts as they are, a list of them one a line; all else as JSON. */
function plainText(value: unknown): string {
  if (typeof value === "string") return escapeControl(value);
  const isTexts = Array.isArray(value) && value.every((item) => typeof item === "string");
  return isTexts ? value.map((item) => escapeControl(item)).join("\n") : JSON.stringify(value);
}

interface Inspected {
  readonly inspection: Inspection;
  readonly redact: (text: string) => string;
}

/** The configuration in force. Throws a `Failure` if a value is wrong. */
async function inspected(context: Context): Promise<Inspected> {
  const { flags, redactor } = context;
  const inspection = await inspect(context, configFlagsOf(flags));
  if (inspection instanceof Failure) throw inspection;
  const { config, problems, file } = inspection;
  if (config === undefined || problems.length > 0) throw problemsFailure(problems, file);
  return { inspection, redact: (text) => redactor.redact(text) };
}

function placeOf(name: string, { tree }: Inspection): Place {
  const place = placeNamed(name, tree);
  if (place instanceof Failure) throw place;
  return place;
}

/** The settings of a place; of a place inside of a value, that part of it. */
function settingsWithin({ tree }: Inspection, place: Place): readonly Setting[] {
  if (!place.isInside) return settingsAt(tree, place);
  const inner = place.path.findLastIndex((name) => typeof name === "string");
  const isEntry = place.row.kind === "key" && place.row.schema?.["type"] === "object";
  const path = place.path.slice(0, isEntry ? inner : inner + 1);
  const [setting] = settingsAt(tree, { ...place, path });
  if (setting === undefined) return [];
  return [{ ...setting, value: partOf(setting.value, place.path.slice(path.length)) }];
}

function partOf(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((part, name) => {
    const isObject = typeof part === "object" && part !== null && Object.hasOwn(part, name);
    return isObject ? Reflect.get(part, name) : undefined;
  }, value);
}

/** Settings as one JSON value, without those that are not set. */
function nestedIn(settings: readonly Setting[], base: Path): unknown {
  const root: Container = new Map();
  for (const { path, value } of settings) {
    if (value === undefined) continue;
    let at = root;
    const rest = path.slice(base.length);
    for (const name of rest.slice(0, -1)) {
      const inner = at.get(name);
      const next: Container = inner instanceof Map ? inner : new Map();
      at.set(name, next);
      at = next;
    }
    at.set(rest.at(-1) ?? "", value);
  }
  return root.size === 0 ? undefined : plainOf(root);
}

type Container = Map<string | number, unknown>;

function plainOf(value: unknown): unknown {
  if (!(value instanceof Map)) return value;
  const entries = [...value].map(([name, inner]) => [name, plainOf(inner)] as const);
  return entries.every(([name]) => typeof name === "number")
    ? entries.map(([, inner]) => inner)
    : Object.fromEntries(entries);
}

/** `gateway.port = 18790  # default` */
export function settingText(
  { key, value, otherwise, origin }: Setting,
  hasOrigin: boolean,
): string {
  const line =
    value === undefined
      ? `# ${key} is not set: ${otherwise}`
      : `${key} = ${JSON.stringify(value)}${hasOrigin ? `  # ${locationOf(origin)}` : ""}`;
  return `${escapeControl(line)}\n`;
}

/** A line of type `setting`. */
export function settingJson({ key, value, origin }: Setting): string {
  return jsonLine({ v: 1, type: "setting", key, value, origin });
}
