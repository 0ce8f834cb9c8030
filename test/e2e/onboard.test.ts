import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { answers, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { onceInCi, picoclaw, startGateway, startOnTerminal } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip };
const KEY = "sk-onboard-1234567";
const QUESTIONS = ["MQTT broker [", "Agent id [", "User at the broker [", "Model [", "Write this"];

describe("onboard on a real terminal", needs, () => {
  it("ends in an answer through the broker after Enter, five times", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(answers("21 degrees in the kitchen"));
    const settings = { broker: broker.url, agent_id: "assistant" };
    const config = { version: 3, channel_list: { mqtt: { enabled: true, settings } } };
    const former = `// mine\n${JSON.stringify(config)}`;
    await writeFile(join(home.path, "config.json"), former);
    const env = { OPENAI_API_KEY: KEY, OPENAI_BASE_URL: model.base, TERM: "xterm" };
    await using terminal = startOnTerminal(["onboard"], { home: home.path, env });
    for (const question of QUESTIONS) {
      await terminal.said(question);
      terminal.type("\r");
    }
    const { code } = await terminal.ended;
    assert.equal(code, 0, terminal.stdout());
    assert.match(
      terminal.stdout(),
      /21 degrees in the kitchen[^]*mosquitto_pub [^]*picoclaw gateway/,
    );
    assert.ok(!terminal.stdout().includes(KEY));
    assert.match(await readFile(join(home.path, "config.json"), "utf8"), /^\/\/ mine\n/);
    assert.match(await readFile(join(home.path, ".security.yml"), "utf8"), new RegExp(KEY));
    await using gateway = await startGateway({ home: home.path });
    const again = await picoclaw(["onboard", "--yes"], { home: home.path });
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /stays as it is[^]*21 degrees/);
    await gateway.said('"client":"device1"');
  });
});
