import { createHost, printNow, runSmall } from "./base/host.ts";
import { VERSION } from "./base/version.ts";

/** Milliseconds that a process may take to end once its command has. */
const LAST_MS = 2_000;

const host = createHost();
const [word, ...others] = host.args;
const isQuick = others.length === 0 && (word === "--version" || word === "-v");
// The quick way: nothing but this file and base is loaded.
if (!isQuick || !printNow(`picoclaw ${VERSION}\n`)) {
  if (word === "gateway") runSmall();
  const { runCommandLine } = await import("./cli/cli.ts");
  const code = await runCommandLine(host);
  host.setExitCode(code);
  // What a runtime forgets to close, as Deno a stream whose signal it has collected, must not keep the process.
  setTimeout(() => host.exitNow(code), LAST_MS).unref();
}
