import { createHost } from "./base/host.ts";
import { VERSION } from "./base/version.ts";

const host = createHost();
const [word, ...others] = host.args;
if (others.length === 0 && (word === "--version" || word === "-v")) {
  // The quick way: nothing but this file and base is loaded.
  await host.stdout.write(`picoclaw ${VERSION}\n`);
} else {
  const { runCommandLine } = await import("./cli/cli.ts");
  host.setExitCode(await runCommandLine(host));
}
