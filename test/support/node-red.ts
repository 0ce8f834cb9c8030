import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onceInCi, startClient, type Running } from "./picoclaw.ts";
import { until } from "./until.ts";

/** Where `.ci/run` installs it: 280 packages that are nothing to the program. */
const FOLDER = process.env["PICOCLAW_NODE_RED"] ?? "/tmp/picoclaw-node-red";
const MAIN = join(FOLDER, "node_modules/node-red/red.js");

/** For `it`: without Node-RED a test is left out on somebody's own machine, and fails in CI. */
const isMissing = !existsSync(MAIN) && !process.env["CI"];
export const needsNodeRed = { skip: isMissing || onceInCi.skip };
if (isMissing) {
  process.stderr.write(`Node-RED is not in ${FOLDER}: tests with it are left out\n`);
}

/** Runs a flow without the editor, on a port of the loopback. */
export async function startNodeRed(
  folder: string,
  { port, flow }: { readonly port: number; readonly flow: readonly object[] },
): Promise<Running> {
  if (!existsSync(MAIN)) throw new Error(`Node-RED is missing: npm i --prefix ${FOLDER} node-red`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "flow.json"), JSON.stringify(flow));
  const settings = {
    uiHost: "127.0.0.1",
    uiPort: port,
    httpAdminRoot: false,
    telemetry: { enabled: false },
    flowFile: "flow.json",
    credentialSecret: false,
  };
  await writeFile(join(folder, "settings.js"), `module.exports = ${JSON.stringify(settings)};`);
  const red = startClient("node", [MAIN, "-u", folder, "-s", join(folder, "settings.js")]);
  await until(`Node-RED has started its flow: ${red.stderr()}`, () => {
    return red.stdout().includes("Started flows") && red.stdout().includes("Connected to broker");
  });
  return red;
}
