import assert from "node:assert/strict";
import { it } from "node:test";
import { openTestDevice } from "../support/channel.ts";
import { frameOf } from "../support/frames.ts";
import { startProgram } from "../support/home/programs.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const slow = { ...needsMosquitto, timeout: 120_000 };

const TOOLS = ["devices", "set_device"];
const PROFILES = {
  "panel-*": {
    tools: TOOLS,
    topics: {
      read: ["zigbee2mqtt/#", "stat/#", "tele/#", "greenhouse/#"],
      publish: ["zigbee2mqtt/+/set", "cmnd/hall/#", "greenhouse/#"],
    },
  },
  display: { tools: TOOLS, topics: { read: ["greenhouse/#"], publish: [] } },
};

/** A gateway with a model, a broker, and the programs of three kinds of devices. */
async function openHome(settings: object = {}, lampMode = "") {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const lamp = stack.use(await startProgram("zigbee-lamp", broker.port, lampMode));
  for (const program of ["tasmota-relay", "esphome-sensor"] as const) {
    stack.use(await startProgram(program, broker.port));
  }
  const home = stack.use(await temporaryFolder());
  await writeConfig(
    home.path,
    quickConfig(
      broker.url,
      {},
      {
        version: 3,
        agents: { defaults: { model_name: "m", summarize_message_threshold: 0 } },
        model_list: [{ model_name: "m", model: "openai/m", api_base: model.base }],
        tools: { profiles: PROFILES },
        ...settings,
      },
    ),
  );
  stack.use(await startGateway({ home: home.path }));
  const moved = stack.move();
  return {
    broker,
    model,
    lamp,
    home,
    /** What the model reads after it has called the tool. */
    async obeyed(client: string, name: string, input: object): Promise<string> {
      model.script(calls({ name, arguments: JSON.stringify(input) }), answers("done"));
      const sent = await picoclaw(["send", client, "do it"], { home: home.path });
      assert.equal(sent.code, 0, sent.stderr);
      const results = model.requests.at(-1)?.body.messages ?? [];
      return frameOf(results.findLast(({ role }) => role === "tool")?.content).text;
    },
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

it(
  "a lamp is turned on by its name with two model calls, and its new state is looked at",
  slow,
  async () => {
    await using set = await openHome();
    await using lamp = await openTestDevice(set.broker.url, "zigbee2mqtt/kitchen lamp/set");
    const text = await set.obeyed("panel-1", "set_device", { name: "kitchen lamp", state: "on" });
    assert.equal(set.model.requests.length, 2);
    assert.equal(
      text,
      "Done. kitchen lamp (light) reports: on, brightness 47 %, color temperature 2703 K, 0 s ago.",
    );
    assert.equal(String((await lamp.message()).payload), '{"state":"ON"}');
    assert.equal(
      await set.obeyed("panel-1", "set_device", {
        name: "Kitchen Lamp",
        brightness: 80,
        color_temperature: 3000,
      }),
      "Done. kitchen lamp (light) reports: on, brightness 80 %, color temperature 3003 K, 0 s ago.",
    );
    assert.match(
      await set.obeyed("panel-1", "set_device", { name: "kitchen lamp", brightness: 180 }),
      /^error: kitchen lamp: brightness is a number from 0 to 100 %/,
    );
  },
);

it("devices of Tasmota and ESPHome are found, read and set", slow, async () => {
  await using set = await openHome();
  const reported = /Sending PUBLISH to picoclaw-feed.*tele\/hall\/SENSOR/;
  await until("the power is reported", () => reported.test(set.broker.log()));
  const found = await set.obeyed("panel-1", "devices", { search: "hall" });
  assert.match(
    found,
    /^Hall Dimmer \(light\): its state was not reported yet; can be set: state on\|off; brightness 0 to 100 %$/m,
  );
  assert.match(found, /^Hall ENERGY Power \(sensor\): 42 W, \d s ago$/m);
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "hall relay", state: "on" }),
    /^Done. Hall Relay \(switch\) reports: on, 0 s ago.$/,
  );
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "Hall Dimmer", brightness: 55 }),
    /^Done. Hall Dimmer \(light\) reports: on, brightness 55 %, 0 s ago.$/,
  );
  assert.match(
    await set.obeyed("panel-1", "devices", { room: "garden", kind: "sensors" }),
    /^Greenhouse Soil Moisture \(sensor in Garden\): 37.5 %, as the broker had stored it$/,
  );
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "roof", state: "open" }),
    /^Done. Greenhouse Roof \(cover in Garden\) reports: open, position 100 %, 0 s ago.$/,
  );
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "greenhouse target", value: "33.6" }),
    /^Done. Greenhouse Target \(number in Garden\) reports: 33.5, 0 s ago.$/,
  );
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "grow light", color: "#ff8800" }),
    /^Done. Greenhouse Grow Light \(light in Garden\) reports: on, brightness 100 %, color #ff8800, effect None, 0 s ago.$/,
  );
});

it(
  "a client sees and sets what its profile's topics cover, and others have no such tools",
  slow,
  async () => {
    await using set = await openHome();
    const all = await set.obeyed("display", "devices", {});
    assert.match(all, /^Greenhouse Roof/m);
    assert.doesNotMatch(all, /kitchen|hall|can be set/i);
    assert.match(
      await set.obeyed("display", "set_device", { name: "roof", state: "open" }),
      /^error: there is no tool "set_device"/,
    );
    assert.match(
      await set.obeyed("panel-1", "set_device", {
        name: "kitchen lamp Power-on behavior",
        value: "on",
      }),
      /^error: this client may not set kitchen lamp Power-on behavior \(select\)$/,
    );
    assert.match(await set.obeyed("somebody", "devices", {}), /^error: there is no tool "devices"/);
  },
);

it("a device that does nothing is not said to have done it", slow, async () => {
  await using set = await openHome({}, "silent");
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "kitchen lamp", state: "on" }),
    /^error: sent to kitchen lamp \(light\), but it reported nothing within three seconds: it may not have done it\. Last known: off/,
  );
  await set.lamp[Symbol.asyncDispose]();
  const offline = /zigbee2mqtt\/bridge\/state', ... \(19 bytes\)/;
  await until("its will is published", () => offline.test(set.broker.log()));
  assert.match(
    await set.obeyed("panel-1", "set_device", { name: "kitchen lamp", state: "on" }),
    /^error: kitchen lamp \(light\) did not get it: nobody is subscribed to its commands\. Last known: offline, off/,
  );
});

it("what is offline or has a low battery is answered, without a model too", slow, async () => {
  await using set = await openHome({ agents: {}, model_list: [] });
  const ask = async (client: string, text: string): Promise<string> => {
    const sent = await picoclaw(["send", client, text], { home: set.home.path });
    assert.equal(sent.code, 0, sent.stderr);
    return sent.stdout.trim();
  };
  assert.equal(
    await ask("panel-1", "Which devices are offline?"),
    "Offline: cellar climate (1 of 4 devices that report whether they are online).",
  );
  assert.equal(
    await ask("panel-1", "Are there low batteries?"),
    "Battery low: cellar climate 8 % (1 of 1 devices that report a battery).",
  );
  assert.match(
    await ask("panel-1", "How are all the devices?"),
    /Weak link: kitchen lamp 23 \(1 of 1/,
  );
  assert.match(await ask("panel-1", "What is the CPU usage?"), /may not ask about the device/);
  assert.match(await ask("somebody", "Which devices are offline?"), /I am the offline agent/);
});
