import assert from "node:assert/strict";
import { readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { startClient } from "./picoclaw.ts";
import { temporaryFolder } from "./temporary.ts";

const root = join(import.meta.dirname, "../..");

/** Waits until the gateway of this home serves, for half a minute at most. */
export const AWAIT_GATEWAY =
  "for _ in $(seq 200); do picoclaw status --ready >/dev/null 2>&1 && break; sleep 0.1; done";

/** A command of a document, with its here-document, and what the document says that it prints. */
export interface Shown {
  readonly command: string;
  readonly output: string;
}

export interface RunOptions {
  /** Text of the commands that is another one here, such as a port; in what they print it is turned back. */
  readonly replaced?: readonly (readonly [from: string, to: string])[];
  /** Shell lines that come first: functions in place of programs, files that the machine would have. */
  readonly before?: string;
}

/** The commands of the `console` blocks of a document; each begins with "$ ". */
export async function commandsIn(document: string): Promise<Shown[]> {
  const text = await readFile(join(root, "docs/tutorials", document), "utf8");
  const blocks = [...text.matchAll(/^```console\n(.*?)^```$/gms)];
  const shown = blocks.flatMap(([, block = ""]) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((part) => divided(part)),
  );
  assert.ok(shown.length > 0, `${document} shows no commands`);
  return shown;
}

/** A command goes on after a backslash, and to the end of its here-document. */
function divided(part: string): Shown {
  const lines = part.split("\n");
  const word = /<<-?\s*['"]?(\w+)/.exec(lines[0] ?? "")?.[1];
  let last = word === undefined ? 0 : lines.indexOf(word);
  while (lines[last]?.endsWith("\\")) last += 1;
  const command = lines.slice(0, last + 1).join("\n");
  return { command, output: lines.slice(last + 1).join("\n") };
}

/**
 * Runs the commands in one shell, in a folder of their own that is the home as well, and compares what they print.
 * After one that goes to the background it waits for the gateway.
 */
export async function assertRuns(shown: readonly Shown[], options: RunOptions = {}): Promise<void> {
  await using folder = await temporaryFolder();
  await symlink(join(root, "examples"), join(folder.path, "examples"));
  const replaced = options.replaced ?? [];
  const here = replaced.map(
    ([from, to]) => [from, to.replaceAll("{folder}", folder.path)] as const,
  );
  const steps = shown.map(({ command }) => {
    const line = here.reduce((text, [from, to]) => text.replaceAll(from, to), command);
    return `printf '\\001'\n${line}${line.endsWith("&") ? `\n${AWAIT_GATEWAY}` : ""}`;
  });
  const script = [
    `cd '${folder.path}'; export HOME="$PWD" PATH="${join(root, "dist")}:$PATH:/usr/sbin"`,
    "unset PICOCLAW_HOME; exec 2>&1; trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT",
    (options.before ?? "").replaceAll("{folder}", folder.path),
    ...steps,
  ];
  await using shell = startClient("bash", ["-c", script.join("\n")]);
  const { stdout } = await shell.ended;
  const printed = here
    .filter(([, to]) => to !== "")
    .reduce((text, [from, to]) => text.replaceAll(to, from), stdout)
    .replaceAll(folder.path, "/home/pi");
  const outputs = printed.split("\u0001").slice(1);
  for (const [index, { command, output }] of shown.entries()) {
    assert.match(outputs[index] ?? "(it did not run)", patternOf(output), command);
  }
}

/** Numbers are others each time, "…" is anything in a line, and a line of it any lines. */
export function patternOf(output: string): RegExp {
  const lines = output
    .trimEnd()
    .replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)
    .replaceAll(/\d+(?:\\\.\d+)*/g, String.raw`[\d.]+`)
    .replaceAll(/^…$/gm, "[^]*")
    .replaceAll("…", ".*");
  return new RegExp(`^${lines}\\s*$`);
}
