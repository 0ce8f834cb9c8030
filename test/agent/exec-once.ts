/** A process of its own that runs one command in a sandbox and prints what came of it. */
import process from "node:process";
import { createExec } from "../../src/agent/tools/exec.ts";
import { SILENT } from "../../src/base/log.ts";
import { callFacts, toolSettings } from "../support/agent-config.ts";

const [workspace = "", command = ""] = process.argv.slice(2);
const exec = createExec({
  workspace,
  settings: { ...toolSettings().exec, enable_deny_patterns: false, sandbox: "bwrap" },
  restrict: false,
  now: () => performance.now(),
  log: SILENT,
});
process.stdout.write(await exec.tool.run({ command }, callFacts()));
await exec.close();
