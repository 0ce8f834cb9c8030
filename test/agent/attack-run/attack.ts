import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { ASKING_FIELDS, FINDS, MODEL_STEP, oneOrMore, readYaml, RESTART } from "../scenario.ts";

/** Who asks, what the fooled model does about it, and what must come of it. */
const ASKING = v.strictObject({
  ...ASKING_FIELDS,
  /** Someone at the machine asks with `picoclaw agent`, not a client. */
  here: v.optional(v.boolean(), false),
  /** The same, and what they see is a terminal. */
  terminal: v.optional(v.boolean(), false),
});
export type Asking = v.InferOutput<typeof ASKING>;

/** Requests to the gateway's port, all at once. */
const HTTP = v.strictObject({
  /** Method and path. */
  sends: v.string(),
  headers: v.optional(v.record(v.string(), v.string()), {}),
  /** The body; or so many bytes of it; or one that begins and does not end; or not even the headers end. */
  body: v.optional(v.union([v.string(), v.number(), v.boolean()]), ""),
  times: v.optional(v.number(), 1),
  /** The status of each answer, or how many have it, as `503 or closed`; `open` are left before they are answered. */
  status: v.union([v.number(), v.record(v.string(), v.number())]),
  /** What each answer holds, headers included. */
  hears: v.optional(oneOrMore, []),
  not: v.optional(oneOrMore, []),
  model: v.optional(v.array(MODEL_STEP), []),
  /** Asked over the broker while these requests are open. */
  meanwhile: v.optional(ASKING),
  /** Whether one more connection is served then; not looked at if left out. */
  isFull: v.optional(v.boolean()),
});
export type HttpStep = v.InferOutput<typeof HTTP>;

const STEP = v.union([
  ASKING,
  RESTART,
  FINDS,
  /** Somebody else on the broker says something. */
  v.strictObject({
    publishes: v.strictObject({
      topic: v.string(),
      payload: v.string(),
      retain: v.optional(v.boolean(), false),
      /** A response topic, as MQTT 5 has them. */
      response: v.optional(v.string()),
      /** Correlation Data, or so many bytes of it. */
      correlation: v.optional(
        v.union([
          v.string(),
          v.pipe(
            v.number(),
            v.transform((bytes) => "x".repeat(bytes)),
          ),
        ]),
      ),
      /** As often as this, whole. */
      times: v.optional(v.number(), 1),
      /** What the model does in the turn that this begins, on a watched topic. */
      model: v.optional(v.array(MODEL_STEP), []),
    }),
  }),
  v.strictObject({ http: HTTP }),
  /** So many minutes pass for the clock. */
  v.strictObject({ later: v.number() }),
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
  /** Other agents at the broker, and what each answers to every question; `9 times x` is so many parts and no end. */
  agents: v.optional(v.record(v.string(), v.string()), {}),
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
  const files = (await readdir(folder)).filter((file) => file.endsWith(".yaml"));
  return files.toSorted((one, other) => numberOf(one) - numberOf(other));
}

/** The number with which the name of an attack's file begins. */
export function numberOf(file: string): number {
  return Number.parseInt(file, 10);
}

/** Reads one; `{{name}}` in it stands for the text of that name. */
export async function readAttack(
  file: string,
  places: Readonly<Record<string, string>> = {},
): Promise<Attack> {
  const attack = await readYaml(ATTACK, join(folder, file), places);
  const { stopped, unstopped } = attack;
  assert.ok((stopped === undefined) !== (unstopped === undefined), `${file}: stopped or not?`);
  return attack;
}
