/** A process that runs a command in a sandbox: `once` prints its result, `hold` runs it in the background until the process is killed. */
import process from "node:process";
import { createExec } from "../../../../src/agent/tools/exec.ts";
import { SILENT } from "../../../../src/base/log.ts";
import { callContext, toolSettings } from "../../../support/agent-config.ts";

const [mode, workspace = "", command = ""] = process.argv.slice(2);
const isHeld = mode === "hold";
const exec = createExec({
  workspace,
  settings: { ...toolSettings().exec, enable_deny_patterns: false, sandbox: "bwrap" },
  restrict: false,
  now: () => performance.now(),
  log: SILENT,
});
process.stdout.write(await exec.tool.run({ command, background: isHeld }, callContext()));
if (isHeld) setInterval(() => {}, 1000);
else await exec.close();
