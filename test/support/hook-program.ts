import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { HookStage, ProcessHookSettings } from "../../src/config/contract.ts";

/**
 * What the program does when asked: a result to answer with, or `hang` (never answers), `die` (ends),
 * `error` (an error of JSON-RPC), `nonsense` (a result that is none), `chatter` (lines that are no JSON,
 * then nothing), `flood` (a line that never ends), `method` (tells of a method it does not know).
 */
export type Behaviour = Readonly<Record<string, unknown>> | string;

export type Behaviours = Readonly<Partial<Record<HookStage | "hello", Behaviour>>>;

/** A real program that answers as a process hook of Go PicoClaw does, and notes what it was asked. */
export interface HookProgram {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What it was asked, in order: `{pid, env, argv}` at each start, then requests. */
  readonly heard: () => Promise<readonly Heard[]>;
  /** Its settings, with these stages. */
  readonly settings: (
    stages: readonly HookStage[],
    more?: Partial<ProcessHookSettings>,
  ) => ProcessHookSettings;
}

export interface Heard {
  readonly pid?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly argv?: readonly string[];
  readonly id?: number;
  readonly method?: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- it is what was sent, and tests look into it
  readonly params?: any;
}

const SCRIPT = `
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import process from "node:process";

const note = (what) => appendFileSync(process.env.HOOK_NOTES, JSON.stringify(what) + "\\n");
const behaviours = JSON.parse(process.env.HOOK_BEHAVIOURS);
note({ pid: process.pid, env: { ...process.env }, argv: process.argv });
const answer = (id, rest) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, ...rest }) + "\\n");
const acts = {
  hang: () => {},
  die: () => {
    process.stderr.write("out of order\\n");
    process.exit(3);
  },
  error: (id) => answer(id, { error: { code: -32000, message: "not today" } }),
  nonsense: (id) => answer(id, { result: "yes" }),
  chatter: () => process.stdout.write("hello\\nare you there?\\n"),
  flood: () => {
    const piece = "x".repeat(65536);
    const more = () => process.stdout.write(piece, more);
    more();
  },
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  note({ id, method, params });
  const behaviour = behaviours[method.replace("hook.", "")] ?? (method === "hook.hello" ? { ok: true } : "error");
  if (typeof behaviour === "string") acts[behaviour](id);
  else answer(id, { result: behaviour });
});
`;

export async function hookProgram(folder: string, behaviours: Behaviours): Promise<HookProgram> {
  const name = crypto.randomUUID();
  const [script, notes] = [join(folder, `${name}.mjs`), join(folder, `${name}.notes`)];
  await writeFile(script, SCRIPT);
  await writeFile(notes, "");
  const runner = "deno" in process.versions ? ["run", "-A", "--quiet"] : [];
  const command = [process.execPath, ...runner, script];
  const env = { HOOK_NOTES: notes, HOOK_BEHAVIOURS: JSON.stringify(behaviours) };
  return {
    command,
    env,
    async heard() {
      const lines = (await readFile(notes, "utf8")).split("\n").filter((line) => line !== "");
      return lines.map((line): Heard => JSON.parse(line));
    },
    settings: (stages, more = {}) => ({
      name: "gate",
      priority: 0,
      command,
      stages: new Set(stages),
      env,
      ...more,
    }),
  };
}
