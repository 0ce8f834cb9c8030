import { spawn } from "node:child_process";

/** Runs a program of the project's tests in the root; resolves with all that it printed, and its exit code. */
export async function runTool(
  root: string,
  [program = "", ...args]: readonly string[],
  under: string,
): Promise<{ readonly text: string; readonly code: number }> {
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PICOCLAW_UNDER_TEST: under, NO_COLOR: "1" },
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => {
      text += String(data);
    });
  }
  const code = await new Promise<number>((resolve) =>
    child.on("close", (status) => resolve(status ?? 1)),
  );
  return { text, code };
}
