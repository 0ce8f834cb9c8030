import assert from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";

const words = v.union([v.string(), v.number()]);
/** A text, or several. */
export const oneOrMore = v.pipe(
  v.union([words, v.array(words)]),
  v.transform((value) => [value].flat().map(String)),
);
const call = v.strictObject({
  tool: v.string(),
  with: v.optional(v.record(v.string(), v.unknown()), {}),
});

/** What the model does with one question: what it must have read, and its answer. */
export const MODEL_STEP = v.strictObject({
  /** The model that has to be asked, by its name in `models`. */
  named: v.optional(v.string()),
  /** All that stands behind the model's last words: results of tools, or the question. */
  reads: v.optional(oneOrMore, []),
  /** What the system prompt holds, and the whole request. */
  knows: v.optional(oneOrMore, []),
  remembers: v.optional(oneOrMore, []),
  /** What the definitions of its tools hold, as JSON, and what they do not. */
  offers: v.optional(oneOrMore, []),
  offersNot: v.optional(oneOrMore, []),
  /** What the system prompt does not hold. */
  knowsNot: v.optional(oneOrMore, []),
  /** What the whole request does not hold. */
  lacks: v.optional(oneOrMore, []),
  /** The tools whose results it reads: those that did something, and those that refused, in order. */
  ran: v.optional(oneOrMore),
  refused: v.optional(oneOrMore),
  says: v.optional(v.string(), ""),
  calls: v.optional(v.array(call)),
  /** Arguments as a model may write them that cannot write JSON. */
  mumbles: v.optional(v.strictObject({ tool: v.string(), arguments: v.string() })),
  answers: v.optional(v.string()),
  /** A status, or `gone` for a connection that is cut, `hangs` for no answer, `overflow` for too long a conversation. */
  fails: v.optional(v.union([v.number(), v.picklist(["gone", "hangs", "overflow"])])),
  /** The answer is a summary, made beside the conversation. */
  summarizes: v.optional(v.string()),
});
export type ModelStep = v.InferOutput<typeof MODEL_STEP>;

/** A question, what the model does about it, and what the client hears. */
export const ASKING_FIELDS = {
  client: v.optional(v.string(), "kitchen"),
  asks: v.string(),
  model: v.optional(v.array(MODEL_STEP), []),
  hears: v.optional(oneOrMore, []),
  not: v.optional(oneOrMore, []),
  /** The code of the error in which the answer ends. */
  error: v.optional(v.string()),
};

/** The program ends and is started again. */
export const RESTART = v.strictObject({ restart: v.literal(true) });

/** Files below a folder and what they hold; `null` is a file that is not there. */
export const FINDS = v.strictObject({ finds: v.record(v.string(), v.nullable(oneOrMore)) });

const ASKING = v.strictObject({
  ...ASKING_FIELDS,
  /** Someone in `admin_from`. */
  admin: v.optional(v.boolean(), false),
});
export type Asking = v.InferOutput<typeof ASKING>;

const STEP = v.union([
  ASKING,
  RESTART,
  FINDS,
  /** Someone changes a file of the workspace by hand. */
  v.strictObject({ writes: v.record(v.string(), v.string()) }),
]);

const SCENARIO = v.strictObject({
  title: v.string(),
  /** Files as a kernel shows them. */
  device: v.optional(v.record(v.string(), v.string()), {}),
  workspace: v.optional(v.record(v.string(), v.string()), {}),
  /** What is said about the agent in the configuration. */
  defaults: v.optional(v.record(v.string(), v.unknown()), {}),
  tools: v.optional(v.record(v.string(), v.unknown()), {}),
  /** By pattern of clients; paths are relative to the workspace. */
  profiles: v.optional(
    v.record(
      v.string(),
      v.strictObject({
        tools: v.array(v.string()),
        read: v.optional(v.array(v.string()), []),
        write: v.optional(v.array(v.string()), []),
      }),
    ),
    {},
  ),
  /** Entries of model_list beside the one called `main`. */
  models: v.optional(v.array(v.record(v.string(), v.unknown())), []),
  main: v.optional(v.record(v.string(), v.unknown()), {}),
  /** Pages of a web server in the local network, by path. */
  web: v.optional(v.record(v.string(), v.string()), {}),
  day: v.array(STEP),
});
export type Scenario = v.InferOutput<typeof SCENARIO>;

/** Reads one scenario; `{{web}}` in it is the address of the web server. */
export async function readScenario(file: string, web: string): Promise<Scenario> {
  return await readYaml(SCENARIO, file, { web });
}

/** Reads a file by its schema; `{{name}}` in it stands for the text of that name. */
export async function readYaml<Output>(
  schema: v.GenericSchema<unknown, Output>,
  file: string,
  texts: Readonly<Record<string, string>>,
): Promise<Output> {
  const raw = await readFile(file, "utf8");
  const text = raw.replaceAll(/\{\{(\w+)\}\}/g, (name, key: string) => texts[key] ?? name);
  const { success, output, issues } = v.safeParse(schema, parse(text));
  if (success) return output;
  const faults = issues.map((issue) => `${v.getDotPath(issue)}: ${issue.message}`);
  return assert.fail(`${file}: ${faults.join("; ")}`);
}

/** Whether a text holds what a scenario says: a part of it, or `/a regular expression/`. */
export function holds(text: string, expected: string): boolean {
  const pattern = /^\/(.*)\/$/s.exec(expected)?.[1];
  return pattern === undefined ? text.includes(expected) : new RegExp(pattern, "s").test(text);
}

/** Fails unless the text holds all of it. */
export function assertHolds(text: string, expected: readonly string[], what: string): void {
  for (const each of expected) assert.ok(holds(text, each), `${what} lacks ${each}:\n${text}`);
}

/** Fails unless the files below a folder hold what a scenario says. */
export async function assertFiles(
  finds: Readonly<Record<string, readonly string[] | null>>,
  folder: string,
): Promise<void> {
  for (const [path, expected] of Object.entries(finds)) {
    const file = join(folder, path);
    if (expected === null) {
      assert.equal(await stat(file).catch(() => undefined), undefined, `${path} is there`);
    } else assertHolds(await readFile(file, "utf8"), expected, path);
  }
}

/** Writes files below a folder. */
export async function writeFiles(
  folder: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
}
