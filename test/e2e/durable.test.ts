import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openTestDevice } from "../support/channel.ts";
import { answers, startModelServer, streamsSlowly, dialogueOf } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

const REQUEST = "/picoclaw/assistant/device1/request";
const RESPONSE = "/picoclaw/assistant/device1/response";

/** A home whose agent asks that model. */
async function writeHome(
  home: string,
  facts: { broker: string; model: string; settings: object },
): Promise<void> {
  const entry = {
    model_name: "m",
    provider: "openai",
    model: "m-1",
    api_base: facts.model,
    api_key: "sk-e2e",
  };
  const defaults = { model_name: "m", workspace: join(home, "workspace") };
  const more = { agents: { defaults }, model_list: [entry] };
  await writeConfig(home, quickConfig(facts.broker, facts.settings, more));
}

/** The client ids of gateways, in the order in which they connected. */
function idsOf(log: string): string[] {
  return [...log.matchAll(/ as (picoclaw-mqtt-\S+) \(/g)].map(([, id = ""]) => id);
}

describe("a gateway with qos 1", () => {
  it(
    "that is killed in the middle of an answer gives the whole answer after its next start",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using model = await startModelServer();
      await using home = await temporaryFolder();
      await writeHome(home.path, { broker: broker.url, model: model.base, settings: { qos: 1 } });
      await using device = await openTestDevice(broker.url, RESPONSE);
      model.script(streamsSlowly(100, 20_000), answers("All of it."));
      {
        await using first = await startGateway({ home: home.path });
        await device.client.publishAsync(REQUEST, '{"text":"?","id":"r1"}', { qos: 1 });
        await device.message();
        first.kill("SIGKILL");
        await first.ended;
      }
      const before = device.messages.length;
      await using second = await startGateway({ home: home.path });
      await second.said('"msg":"answered"');
      const later = device.messages.slice(before).map(({ payload }) => JSON.parse(String(payload)));
      assert.equal(later[0].seq, 0);
      assert.equal(later.map(({ text }) => text).join(""), "All of it.");
      assert.equal(later.at(-1).done, true);
    },
  );

  it(
    "keeps its client id from start to start, and a second one beside it has its own",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using model = await startModelServer();
      await using home = await temporaryFolder();
      await writeHome(home.path, { broker: broker.url, model: model.base, settings: { qos: 1 } });
      {
        await using first = await startGateway({ home: home.path });
        await using second = await startGateway({ home: home.path });
        await second.said("another gateway of this home is running");
        first.kill("SIGTERM");
        assert.equal((await first.ended).code, 0);
      }
      await using third = await startGateway({ home: home.path });
      const [first, second, again] = idsOf(broker.log());
      assert.equal(again, first);
      assert.notEqual(second, first);
      assert.ok(third.stderr().includes("connected"));
      const state = await readdir(join(home.path, "workspace/state"));
      assert.ok(state.includes("picoclaw.db") && state.includes("picoclaw-2.db"), state.join());
    },
  );

  it("does not start where it cannot keep its promise, and says why", async () => {
    await using home = await temporaryFolder();
    await writeFile(join(home.path, "workspace"), "a file where the folder should be");
    await writeHome(home.path, {
      broker: "tcp://127.0.0.1:1",
      model: "http://127.0.0.1:1",
      settings: { qos: 1 },
    });
    const { code, stderr } = await picoclaw(["gateway"], { home: home.path });
    assert.equal(code, 78);
    assert.match(stderr, /error: the state folder cannot be written/);
    assert.match(stderr, /workspace/);
  });
});

describe("a gateway with qos 0", () => {
  it("continues a conversation after a restart", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    await writeHome(home.path, { broker: broker.url, model: model.base, settings: {} });
    await using device = await openTestDevice(broker.url, RESPONSE);
    model.otherwise(answers("Noted."));
    for (const text of ["I am Ada.", "Who am I?"]) {
      await using gateway = await startGateway({ home: home.path });
      await device.client.publishAsync(REQUEST, JSON.stringify({ text }));
      await gateway.said('"msg":"answered"');
      gateway.kill("SIGTERM");
      assert.equal((await gateway.ended).code, 0);
    }
    const { messages } = model.requests[1]?.body ?? { messages: [] };
    assert.deepEqual(
      dialogueOf(messages).map(({ content }) => content),
      ["I am Ada.", "Noted.", "Who am I?"],
    );
  });

  it("serves where nothing can be kept, and says so", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    await writeFile(join(home.path, "workspace"), "a file where the folder should be");
    await writeConfig(home.path, quickConfig(broker.url));
    await using gateway = await startGateway({ home: home.path });
    assert.match(
      gateway.stderr(),
      /"level":"error","msg":"conversations will be lost when this process ends"/,
    );
    const { code } = await picoclaw(["send", "device1", "What time is it?"], { home: home.path });
    assert.equal(code, 0);
  });
});
