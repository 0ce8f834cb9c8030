import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ASSISTANT, askAll, connectDevice } from "../test/support/bare-device.ts";
import { answers, startModelServer } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { modelConfig, picoclaw, startGateway, temporaryHome } from "../test/support/picoclaw.ts";
import { temporaryFolder } from "../test/support/temporary.ts";

/**
 * `npm run profile`: records in `scripts/bundle/start.order` what the binary runs in the shortest run and from the
 * start of a gateway to its first answer. A build puts that code together, so that less of the file is in memory.
 * Functions that have changed since then lie elsewhere, and nothing else depends on it.
 */
process.env["PICOCLAW_UNDER_TEST"] = "binary";
await using folder = await temporaryFolder();
// The version of the format, functions and strings. Most lines are of functions that do not run.
const quick = await recorded(/^[vFS]/, async (env) => {
  await picoclaw(["--version"], { home: folder.path, env });
});
const gateway = await recorded(/^F/, answerOnce);
writeFileSync(
  join(import.meta.dirname, "bundle/start.order"),
  `${[...quick, ...gateway].join("\n")}\n`,
);
console.log(`${quick.length} and ${gateway.length} lines`);

type Env = Readonly<Record<string, string>>;

/** The lines of a run that match. It must end by itself. */
async function recorded(lines: RegExp, run: (env: Env) => Promise<void>): Promise<string[]> {
  const file = join(folder.path, "recorded");
  await run({ BUN_BYTECODE_ORDER_OUT: file });
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => lines.test(line));
}

async function answerOnce(env: Env): Promise<void> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryHome(modelConfig(broker.url, model.base));
  await using started = await startGateway({ home: home.path, env });
  await started.said("gateway started");
  using device = await connectDevice(ASSISTANT, { port: broker.port, qos: 1, version: 4 });
  await askAll(device, 1, 1);
  started.kill("SIGTERM");
  await started.ended;
}
