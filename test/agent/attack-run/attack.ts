import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";
import { MODEL_STEP, oneOrMore } from "../scenario.ts";

/** Who asks, what the fooled model does about it, and what must come of it. */
const ASKING = v.strictObject({
  client: v.optional(v.string(), "kitchen"),
  /** Someone at the machine asks with `picoclaw agent`, not a client. */
  here: v.optional(v.boolean(), false),
  /** The same, and what they see is a terminal. */
  terminal: v.optional(v.boolean(), false),
  asks: v.string(),
  model: v.optional(v.array(MODEL_STEP), []),
  hears: v.optional(oneOrMore, []),
  not: v.optional(oneOrMore, []),
  /** The code of the error in which the answer ends. */
  error: v.optional(v.string()),
});
export type Asking = v.InferOutput<typeof ASKING>;

const STEP = v.union([
  ASKING,
  v.strictObject({ restart: v.literal(true) }),
  /** Files below the root and what they hold; `null` is a file that is not there. */
  v.strictObject({ finds: v.record(v.string(), v.nullable(oneOrMore)) }),
  /** Somebody else on the broker says something. */
  v.strictObject({
    publishes: v.strictObject({
      topic: v.string(),
      payload: v.string(),
      retain: v.optional(v.boolean(), false),
      /** A response topic, as MQTT 5 has them. */
      response: v.optional(v.string()),
      /** As often as this, whole. */
      times: v.optional(v.number(), 1),
    }),
  }),
  /** What was heard on topics since the program began: words in any of the messages; `null` is nothing at all. */
  v.strictObject({ heard: v.record(v.string(), v.nullable(oneOrMore)) }),
]);
export type Step = v.InferOutput<typeof STEP>;

const words = v.pipe(v.string(), v.minLength(1));

const ATTACK = v.strictObject({
  /** What it tries. */
  title: words,
  /** Who described it, where, and when. */
  source: v.pipe(v.string(), v.regex(/(?:19|20)\d\d/, "say the year")),
  /** Where the poison comes from. */
  from: words,
  /** What whoever asks may do, in words. */
  rights: words,
  /** What it takes to be stopped; where that is not installed it is not run. */
  needs: v.optional(v.literal("bubblewrap")),
  /** What stopped it; or why nothing does. */
  stopped: v.optional(words),
  unstopped: v.optional(words),
  /** Laid over config.json. */
  config: v.optional(v.record(v.string(), v.unknown()), {}),
  /** Files below the root; `home/workspace` is the workspace. */
  files: v.optional(v.record(v.string(), v.string()), {}),
  /** Links below the root, by what they lead to. */
  links: v.optional(v.record(v.string(), v.string()), {}),
  /** Pages by path; one that begins with `-> ` redirects, with `gzip ` is that many zeros, compressed. */
  web: v.optional(v.record(v.string(), v.string()), {}),
  day: v.array(STEP),
  /** What the day may change below the root, and does; all else is as it was. */
  changes: v.optional(v.array(v.string()), []),
  /** All that the web server outside was asked for. */
  requests: v.optional(v.array(v.string()), []),
  /** All that was published beside requests, answers and the gateway's own status: topic and payload. */
  published: v.optional(v.array(v.string()), []),
  log: v.optional(
    v.strictObject({ holds: v.optional(oneOrMore, []), lacks: v.optional(oneOrMore, []) }),
    {},
  ),
});
export type Attack = v.InferOutput<typeof ATTACK>;

const folder = join(import.meta.dirname, "../attacks");

/** The attacks that are written down, by file, in their order. */
export async function attackFiles(): Promise<string[]> {
  return (await readdir(folder)).filter((file) => file.endsWith(".yaml")).toSorted();
}

/** Reads one; `{{name}}` in it stands for the text of that name. */
export async function readAttack(
  file: string,
  places: Readonly<Record<string, string>> = {},
): Promise<Attack> {
  const raw = await readFile(join(folder, file), "utf8");
  const text = raw.replaceAll(/\{\{(\w+)\}\}/g, (name, key: string) => places[key] ?? name);
  const { success, output, issues } = v.safeParse(ATTACK, parse(text));
  if (!success) {
    const faults = issues.map((issue) => `${v.getDotPath(issue)}: ${issue.message}`);
    return assert.fail(`${file}: ${faults.join("; ")}`);
  }
  const { stopped, unstopped } = output;
  assert.ok((stopped === undefined) !== (unstopped === undefined), `${file}: stopped or not?`);
  return output;
}
