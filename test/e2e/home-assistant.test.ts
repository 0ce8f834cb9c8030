import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { at } from "../../src/base/unknown.ts";
import { openTestDevice } from "../support/channel.ts";
import { answers, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  onceInCi,
  quickConfig,
  startGateway,
  temporaryHome,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip };
const DISCOVERY = "homeassistant/device/picoclaw_assistant/config";
const ON = { env: { PICOCLAW_CHANNELS_MQTT_QOS: "1" } };

describe("the usage of a gateway in Home Assistant", needs, () => {
  it("is that of today, also after a restart", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    const config = modelConfig(broker.url, model.base);
    const settings = at(at(at(config, "channel_list"), "mqtt"), "settings");
    assert.ok(typeof settings === "object" && settings !== null);
    Object.assign(settings, { homeassistant: { enabled: true } });
    await using home = await temporaryHome(config);
    model.otherwise(answers("yes"));
    {
      await using gateway = await startGateway({ home: home.path, ...ON });
      await using device = await openTestDevice(broker.url, "/picoclaw/assistant/a/response");
      const request = '{"text":"is it on?"}';
      await device.client.publishAsync("/picoclaw/assistant/a/request", request, { qos: 1 });
      await gateway.said('"client":"a","outcome":"ok"');
      gateway.kill("SIGTERM");
      await gateway.ended;
    }
    await using _again = await startGateway({ home: home.path, ...ON });
    await using infos = await openTestDevice(broker.url, "/picoclaw/assistant/info");
    const usage = (): unknown => at(JSON.parse(infos.texts().at(-1) ?? "{}"), "usage");
    await until("the usage is told", () => Number(at(usage(), "tokens")) > 0);
    assert.equal(at(usage(), "cost"), undefined);
    await using configs = await openTestDevice(broker.url, DISCOVERY);
    const components = at(JSON.parse(String((await configs.message()).payload)), "cmps");
    assert.equal(at(at(components, "tokens"), "unit_of_meas"), "tokens");
    assert.deepEqual(at(components, "cost"), { p: "sensor" });
  });

  it("is none without a model", async () => {
    await using broker = await startMosquitto();
    const settings = { homeassistant: { enabled: true } };
    await using home = await temporaryHome(quickConfig(broker.url, settings));
    await using _gateway = await startGateway({ home: home.path });
    await using configs = await openTestDevice(broker.url, DISCOVERY);
    const components = at(JSON.parse(String((await configs.message()).payload)), "cmps");
    assert.deepEqual(at(components, "tokens"), { p: "sensor" });
    await using infos = await openTestDevice(broker.url, "/picoclaw/assistant/info");
    assert.equal(at(JSON.parse(String((await infos.message()).payload)), "usage"), undefined);
  });
});
