import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ASSISTANT, askAll, connectDevice } from "../test/support/bare-device.ts";
import { answers, startModelServer } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { modelConfig, startGateway, temporaryHome } from "../test/support/picoclaw.ts";
import { temporaryFolder } from "../test/support/temporary.ts";

/**
 * `npm run profile`: records which functions the binary runs from the start of a gateway to its first answer, in
 * `scripts/bundle/start.order`. A build puts their code together, so that a gateway holds less of the file in memory.
 * Functions that have changed since then lie elsewhere, and nothing else depends on it.
 */
process.env["PICOCLAW_UNDER_TEST"] = "binary";
await using folder = await temporaryFolder();
const recorded = join(folder.path, "recorded");
{
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryHome(modelConfig(broker.url, model.base));
  await using gateway = await startGateway({
    home: home.path,
    env: { BUN_BYTECODE_ORDER_OUT: recorded },
  });
  await gateway.said("gateway started");
  using device = await connectDevice(ASSISTANT, { port: broker.port, qos: 1, version: 4 });
  await askAll(device, 1, 1);
  gateway.kill("SIGTERM");
  await gateway.ended;
}
const lines = readFileSync(recorded, "utf8").split("\n");
// The version, and the functions that ran. Most lines are of the others.
const kept = lines.filter((line) => /^[vF]/.test(line));
writeFileSync(join(import.meta.dirname, "bundle/start.order"), `${kept.join("\n")}\n`);
console.log(`${kept.length - 1} functions`);
