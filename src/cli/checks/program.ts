import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import type { Diagnosis } from "../../base/contract.ts";
import { type Host, programFile } from "../../base/host.ts";
import { VERSION } from "../../base/version.ts";

/** Which program this is, and whether a shell finds another one. */
export async function programChecks(
  { env, runtime, platform }: Pick<Host, "env" | "runtime" | "platform">,
  own = programFile(),
): Promise<readonly Diagnosis[]> {
  const about = `picoclaw ${VERSION} (${runtime}, ${platform})`;
  const from = own === undefined ? "from source" : own;
  return [
    { code: "program", name: "program", result: "ok", message: `${about}, ${from}` },
    await pathCheck(env["PATH"] ?? "", own),
  ];
}

async function pathCheck(path: string, own: string | undefined): Promise<Diagnosis> {
  const facts = { code: "program.path", name: "PATH" } as const;
  if (own === undefined) {
    return { ...facts, result: "skip", message: "the program runs from source" };
  }
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  const found = await Promise.all(folders.map((folder) => programIn(folder)));
  const files = found.filter((file) => file !== undefined);
  const itself = await realpath(own);
  const [first] = files;
  if (first === undefined) {
    return {
      ...facts,
      result: "ok",
      message: "no picoclaw is in PATH: this one is started by its path",
    };
  }
  if (first.real !== itself) {
    const message = `the command picoclaw starts ${first.file}, not this program, ${itself}`;
    const remedy = `delete or replace it: sudo ln -sf ${itself} ${first.file}`;
    return { ...facts, result: "warn", message, remedy };
  }
  const others = [...new Set(files.filter(({ real }) => real !== itself).map(({ file }) => file))];
  if (others.length === 0)
    return { ...facts, result: "ok", message: `${first.file} is this program` };
  const message = `PATH has other programs of that name, too: ${others.join(", ")}`;
  return { ...facts, result: "warn", message, remedy: `delete them: sudo rm ${others.join(" ")}` };
}

async function programIn(folder: string) {
  const file = join(folder, "picoclaw");
  try {
    await access(file, constants.X_OK);
    if (!(await stat(file)).isFile()) return undefined;
    return { file, real: await realpath(file) };
  } catch {
    return undefined;
  }
}
