import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestChannel, openTestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { startProxy } from "../support/proxy.ts";
import { until } from "../support/until.ts";

const question = (text: string): string => JSON.stringify({ text });

describe("what is asked while the gateway is away", () => {
  const cases = [
    { protocol_version: 5, client_id: "" },
    { protocol_version: 5, client_id: "fixed" },
    { protocol_version: 4, client_id: "fixed" },
  ] as const;
  for (const settings of cases) {
    for (const qos of [1, 2] as const) {
      const name = `comes at its return: MQTT ${settings.protocol_version}, QoS ${qos}, client id ${settings.client_id || "generated"}`;
      it(name, needsMosquitto, async () => {
        await using broker = await startMosquitto();
        await using way = await startProxy(broker.port);
        await using asked = openTestChannel(way.url, {
          settings: { ...settings, qos },
          reconnectMs: 100,
        });
        await asked.ready();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
        for (const round of ["first", "second"]) {
          way.refuse(true);
          way.reset();
          await until("noticed", () => asked.channel.problem() !== undefined);
          await device.client.publishAsync("/picoclaw/edge/c1/request", question(round), { qos });
          way.refuse(false);
          const request = await asked.request(round === "first" ? 0 : 1);
          assert.equal(request.text, round);
          await request.reply({ text: round, done: true });
        }
        await device.message(1);
        assert.equal(asked.requests.length, 2);
      });
    }
  }

  it("comes to the next process, where the client id is the same", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const settings = { client_id: "fixed", qos: 1 } as const;
    const first = openTestChannel(broker.url, { settings });
    await first.ready();
    await first.channel.close();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
    await device.client.publishAsync("/picoclaw/edge/c1/request", question("hi"), { qos: 1 });
    await using second = openTestChannel(broker.url, { settings });
    assert.equal((await second.request()).text, "hi");
  });

  it("is lost at QoS 0, as documented: nothing old is run", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const settings = { client_id: "fixed" } as const;
    const first = openTestChannel(broker.url, { settings });
    await first.ready();
    await first.channel.close();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
    await device.client.publishAsync("/picoclaw/edge/c1/request", question("old"), { qos: 1 });
    await using second = openTestChannel(broker.url, { settings });
    await second.ready();
    await device.client.publishAsync("/picoclaw/edge/c1/request", question("new"), { qos: 1 });
    assert.equal((await second.request()).text, "new");
  });
});
