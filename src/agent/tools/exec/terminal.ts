import { execFile } from "node:child_process";

let found: Promise<readonly string[] | undefined> | undefined;

/**
 * The words that give a command a terminal, with util-linux's or BusyBox's `script`; undefined where
 * there is none of them. Looked for once.
 */
export function terminalWords(
  env: Readonly<Record<string, string>>,
): Promise<readonly string[] | undefined> {
  found ??= look(env);
  return found;
}

async function look(env: Readonly<Record<string, string>>): Promise<readonly string[] | undefined> {
  return await new Promise((resolve) => {
    execFile("script", ["--version"], { env, timeout: 5000 }, (error, stdout, stderr) => {
      const words = `${stdout}${stderr}`;
      // Only util-linux's tells the command's own exit code.
      if (words.includes("util-linux")) resolve(["script", "-qefc"]);
      else resolve(/busybox/i.test(words) && error !== null ? ["script", "-qfc"] : undefined);
    });
  });
}
