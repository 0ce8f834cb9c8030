import assert from "node:assert/strict";
import { it } from "node:test";
import { openTestDevice } from "../support/channel.ts";
import { frameOf } from "../support/frames.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

it(
  "a client reads and publishes the topics of its profile on the broker of its channel, and no other client does",
  { ...needsMosquitto, timeout: 60_000 },
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    await using house = await openTestDevice(broker.url, "home/+/light/set");
    await house.client.publishAsync("home/hall/temp", "19", { retain: true, qos: 1 });
    const topics = { read: ["home/#"], publish: ["home/+/light/set"] };
    await writeConfig(
      home.path,
      quickConfig(
        broker.url,
        {},
        {
          version: 3,
          agents: { defaults: { model_name: "m" } },
          model_list: [{ model_name: "m", model: "openai/m", api_base: model.base }],
          tools: { profiles: { "panel-*": { tools: ["mqtt"], topics } } },
        },
      ),
    );
    await using _gateway = await startGateway({ home: home.path });
    const obeyed = async (client: string, input: object): Promise<string> => {
      model.script(calls({ name: "mqtt", arguments: JSON.stringify(input) }), answers("done"));
      const sent = await picoclaw(["send", client, "do it"], { home: home.path });
      assert.equal(sent.code, 0, sent.stderr);
      const results = model.requests.at(-1)?.body.messages ?? [];
      return frameOf(results.findLast(({ role }) => role === "tool")?.content).text;
    };
    const read = { action: "read", topic: "home/hall/+", seconds: 1 };
    assert.equal(await obeyed("panel-1", read), "home/hall/temp (retained): 19");
    const light = { action: "publish", topic: "home/hall/light/set", payload: "on" };
    assert.equal(await obeyed("panel-1", light), "Published 2 bytes to home/hall/light/set.");
    assert.equal(String((await house.message()).payload), "on");
    const status = { action: "publish", topic: "/picoclaw/assistant/status", payload: "offline" };
    assert.match(await obeyed("panel-1", status), /^error: .* topic of the agent itself/);
    assert.match(await obeyed("kitchen", light), /^error: there is no tool "mqtt"/);
    assert.equal(house.messages.length, 1);
  },
);
