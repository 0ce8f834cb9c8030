import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { it } from "node:test";
import { freePort } from "../support/mosquitto.ts";
import {
  onceInCi,
  oncePerRuntimeInCi,
  picoclaw,
  quickConfig,
  startGateway,
  startShellOnTerminal,
  temporaryHome,
  writeConfig,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

it(
  "SIGHUP reloads without an end of connections, and names what needs a restart",
  onceInCi,
  async () => {
    const broker = `embedded://127.0.0.1:${await freePort()}`;
    await using home = await temporaryHome(quickConfig(broker));
    await using gateway = await startGateway({ home: home.path });
    const config = quickConfig(broker, { limits: { burst: 9 }, qos: 1 });
    await writeConfig(home.path, config);
    process.kill(gateway.pid, "SIGHUP");
    await gateway.said('"needs_restart":"channel_list.mqtt.settings.qos"');
    await writeConfig(home.path, { channel_list: 5 });
    process.kill(gateway.pid, "SIGHUP");
    await gateway.said("could not reload");
    await writeConfig(home.path, config);
    assert.equal((await picoclaw(["send", "device1", "uptime"], { home: home.path })).code, 0);
    assert.equal(gateway.stderr().split('"msg":"connected"').length, 2);
  },
);

/** A built-in broker that nobody needs to find. */
const ANY_PORT = "embedded://127.0.0.1:0";

/** A gateway in a shell on a terminal, whose log is a file. */
async function startOnClosingTerminal(prefix: string, home: string) {
  const log = join(home, "log");
  const line = `${prefix} "$@" gateway 2>'${log}'`;
  const terminal = startShellOnTerminal(line, { home });
  const said = (words: string): Promise<void> =>
    until(
      `the log has ${words}`,
      () => existsSync(log) && readFileSync(log, "utf8").includes(words),
    );
  await said("gateway started");
  return { terminal, said, pid: Number(readFileSync(join(home, "pid"), "utf8")) };
}

it("a closed terminal drains the gateway", onceInCi, async () => {
  await using home = await temporaryHome(quickConfig(ANY_PORT));
  const { terminal, said } = await startOnClosingTerminal(`echo $$ >pid; exec`, home.path);
  terminal.kill("SIGKILL");
  await said("the terminal was closed");
  await said("gateway stopped");
});

/** node ends at a signal that it was started to ignore. */
const isNode = process.env["PICOCLAW_UNDER_TEST"] === "node";
const keepsNohup = { skip: oncePerRuntimeInCi.skip || isNode };

it("after nohup it outlives its terminal", keepsNohup, async () => {
  await using home = await temporaryHome(quickConfig(ANY_PORT));
  const { terminal, said, pid } = await startOnClosingTerminal(
    `echo $$ >pid; exec nohup`,
    home.path,
  );
  try {
    terminal.kill("SIGKILL");
    process.kill(pid, "SIGHUP");
    await said("configuration reloaded");
    process.kill(pid, 0);
  } finally {
    process.kill(pid, "SIGTERM");
  }
  await said("gateway stopped");
});
