import { Failure } from "../../base/failure.ts";
import { configPaths } from "../../config/files.ts";
import type { Context, Run } from "../context.ts";

/** The module of each subcommand, and how many words may follow it. */
const SUBCOMMANDS: Readonly<Record<string, readonly [most: number, load: () => Promise<Run>]>> = {
  path: [0, () => Promise.resolve(printPath)],
  show: [1, async () => (await import("../config/show.ts")).show],
  get: [1, async () => (await import("../config/show.ts")).get],
  set: [2, async () => (await import("../config/set.ts")).set],
  validate: [0, async () => (await import("../config/validate.ts")).validate],
  schema: [0, () => Promise.resolve(printSchema)],
  encrypt: [0, async () => (await import("../config/encrypt.ts")).encrypt],
  decrypt: [0, async () => (await import("../config/encrypt.ts")).decrypt],
};

/** `picoclaw config path|show|get|set|validate|schema|encrypt|decrypt`. */
export async function run(context: Context): Promise<number> {
  const [subcommand = "", ...words] = context.words;
  const [most, load] = SUBCOMMANDS[subcommand] ?? [0, undefined];
  if (load === undefined) throw new Failure("usage", `unknown subcommand ${subcommand}`);
  const extra = words[most];
  if (extra !== undefined) {
    throw new Failure("usage", `config ${subcommand}: unexpected argument "${extra}"`);
  }
  const subrun = await load();
  return subrun(context);
}

/** `picoclaw config schema`: a JSON Schema for editors. */
async function printSchema({ host }: Context): Promise<number> {
  const { configSchema } = await import("../../config/json-schema.ts");
  await host.stdout.write(`${JSON.stringify(configSchema(), undefined, 2)}\n`);
  return 0;
}

/** `picoclaw config path`: where config.json is, or would be. */
async function printPath({ host, flags }: Context): Promise<number> {
  const { env, home: userHome, cwd, stdout } = host;
  const { file, home } = configPaths({ env, userHome, cwd });
  if (!flags.has("json")) {
    await stdout.write(`${file}\n`);
    return 0;
  }
  const { jsonLine } = await import("../../base/escape-control.ts");
  await stdout.write(jsonLine({ v: 1, type: "path", file, home }));
  return 0;
}
