import { spawn } from "node:child_process";
import { onAbort } from "../../base/async.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { codeOf, Failure } from "../../base/failure.ts";
import type { Context } from "../context.ts";
import { programEnv } from "../service/program.ts";
import { serviceOf, thisMachine } from "../service/service.ts";
import { UNIT } from "../service/unit.ts";

const LINES = 100;

const EMPTY = `the journal has nothing of ${UNIT}; a gateway that was started by hand logs to its terminal`;

/** `picoclaw logs`: the log of the service, from the journal of systemd. */
export async function run(context: Context): Promise<number> {
  const { host, flags, signal } = context;
  const { scope } = serviceOf(context, thisMachine());
  const words = [
    ...(scope === "user" ? ["--user-unit", UNIT] : ["--unit", UNIT]),
    `--lines=${flags.count("lines") ?? LINES}`,
    "--output=cat",
    "--no-pager",
    ...(flags.has("follow") ? ["--follow"] : []),
  ];
  const child = spawn("journalctl", words, {
    env: programEnv(host.env),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", (error) => reject(unreadableLog(error)));
    child.on("close", (code) => resolve(code ?? 0));
  });
  const stopListening = onAbort(signal, () => child.kill());
  try {
    let isEmpty = true;
    const printing = (async () => {
      // Every program of the service can write to its journal.
      const isShown = host.stdout.isTTY;
      if (isShown) child.stdout.setEncoding("utf8");
      for await (const chunk of child.stdout) {
        isEmpty = false;
        await host.stdout.write(isShown ? escapeControl(String(chunk), "\n\t") : chunk);
      }
    })();
    const [code] = await Promise.all([ended, printing]);
    if (signal.aborted) throw signal.reason;
    if (code === 0 && isEmpty) await host.stderr.write(`note: ${EMPTY}\n`);
    return code === 0 ? 0 : 1;
  } finally {
    stopListening();
  }
}

function unreadableLog(error: unknown): Failure {
  return new Failure("failed", "there is no journal of systemd to read", {
    why: `journalctl cannot be started (${codeOf(error)})`,
    remedy:
      "the gateway logs to its standard error: OpenRC keeps it in /var/log/picoclaw.log, procd in logread -e picoclaw",
  });
}
