import { createHost, printNow, runSmall } from "./base/host.ts";
import { VERSION } from "./base/version.ts";

const host = createHost();
const [word, ...others] = host.args;
const isQuick = others.length === 0 && (word === "--version" || word === "-v");
// The quick way: nothing but this file and base is loaded.
if (!isQuick || !printNow(`picoclaw ${VERSION}\n`)) {
  if (word === "gateway") runSmall();
  const { runCommandLine } = await import("./cli/cli.ts");
  host.setExitCode(await runCommandLine(host));
}
