import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { verdictOf } from "./audit/verdict.ts";

/**
 * `npm run audit`: asks the registry for advisories about every package of the lock file, those of the
 * tools too. Ends with 1 for one that is high or critical, and where no answer comes; with 0, and a
 * sentence that says so, where the registry offers no audits.
 */
const { values } = parseArgs({ options: { seconds: { type: "string", default: "60" } } });
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error("usage: npm run audit [-- --seconds 60]");

const args = ["audit", "--json", "--audit-level=high", "--fetch-retries=1"];
const child = spawn("npm", args, {
  cwd: join(import.meta.dirname, ".."),
  stdio: ["ignore", "pipe", "ignore"],
  timeout: seconds * 1000,
  killSignal: "SIGKILL",
});
let report = "";
child.stdout.setEncoding("utf8").on("data", (text: string) => {
  report += text;
});
const { error, signal } = await new Promise<{ error?: Error; signal?: string | null }>(
  (resolve) => {
    child.on("error", (thrown) => resolve({ error: thrown }));
    child.on("close", (_, killedBy) => resolve({ signal: killedBy }));
  },
);
const verdict =
  error !== undefined
    ? { ok: false, lines: [`npm could not be run: ${error.message}`] }
    : signal
      ? { ok: false, lines: [`the registry did not answer within ${seconds} s; try again`] }
      : verdictOf(report);
console.log(verdict.lines.join("\n"));
process.exitCode = verdict.ok ? 0 : 1;
