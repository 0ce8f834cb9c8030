import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { usageIn } from "../../src/gateway/usage/report.ts";
import { readCounters } from "../../src/store/sqlite/shared-access.ts";
import { ASSISTANT, connectDevice } from "../support/bare-device.ts";
import { openTestDevice } from "../support/channel.ts";
import { answers, startModelServer, streamsSlowly } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/assistant/device1/request";
const RESPONSE = "/picoclaw/assistant/device1/response";

/** A broker, a model, a home with these limits of a client, and a device that asks. */
async function openPlace(limits: object, qos: 0 | 1) {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const { path: home } = stack.use(await temporaryFolder());
  const device = stack.use(await openTestDevice(broker.url, RESPONSE));
  const entry = {
    model_name: "m",
    provider: "openai",
    model: "m-1",
    api_base: model.base,
    api_key: "sk-e2e",
    prices: { input: 1000, output: 1000 },
  };
  const workspace = join(home, "workspace");
  const more = {
    agents: { defaults: { model_name: "m", workspace } },
    model_list: [entry],
    gateway: { limits: { cost_per_day: 100 } },
  };
  await writeConfig(home, quickConfig(broker.url, { qos, limits }, more));
  let asked = 0;
  return {
    model,
    home,
    file: join(workspace, "state", "picoclaw.db"),
    /** The code of the error that the answer ends with, if any. */
    async ask(): Promise<string | undefined> {
      asked += 1;
      const id = `r${asked}`;
      await device.client.publishAsync(REQUEST, JSON.stringify({ text: "?", id }), { qos });
      const last = () =>
        device.messages
          .map(({ payload }) => JSON.parse(String(payload)))
          .find((part) => part.id === id && part.done);
      await until(`${id} is answered`, () => last() !== undefined);
      return last()?.error?.code;
    },
    begin: (id: string) =>
      device.client.publishAsync(REQUEST, JSON.stringify({ text: "?", id }), { qos }),
    heard: () => device.messages.length,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

for (const qos of [0, 1] as const) {
  describe(`kill -9 at qos ${qos}`, () => {
    it(
      "forgives neither what was asked in this minute nor what was used today",
      needsMosquitto,
      async () => {
        const limits = { requests_per_minute: 1, burst: 4, tokens_per_day: 28 };
        await using place = await openPlace(limits, qos);
        place.model.otherwise(answers("hello"));
        const codes: (string | undefined)[] = [];
        for (let start = 0; start < 3; start += 1) {
          await using gateway = await startGateway({ home: place.home });
          codes.push(await place.ask());
          // At QoS 0 what an answer used is written within 50 ms; until then its estimate counts.
          const used = 14 * Math.min(start + 1, 2);
          await until("what was used is written", async () => (await usedIn(place.file)) === used);
          gateway.kill("SIGKILL");
          await gateway.ended;
        }
        assert.deepEqual(codes, [undefined, undefined, "budget"]);
        await writeRates(place.home);
        let code: string | undefined;
        for (let start = 0; start < 5 && code !== "rate_limited"; start += 1) {
          await using gateway = await startGateway({ home: place.home });
          const counted = await requestsIn(place.file);
          code = await place.ask();
          // At QoS 0 what was asked is written within 50 ms.
          await until("what was asked is written", async () => {
            return code === "rate_limited" || (await requestsIn(place.file)) > counted;
          });
          gateway.kill("SIGKILL");
          await gateway.ended;
        }
        assert.equal(code, "rate_limited");
        assert.equal(place.model.requests.length, 4);
      },
    );

    it(
      "in the middle of an answer leaves what was asked and heard counted",
      needsMosquitto,
      async () => {
        await using place = await openPlace({ tokens_per_day: 1_000_000 }, qos);
        place.model.otherwise(streamsSlowly(100, 60_000));
        await using gateway = await startGateway({ home: place.home });
        await place.begin("long");
        await until("it speaks", () => place.heard() > 0);
        gateway.kill("SIGKILL");
        await gateway.ended;
        const usage = await usageOf(place.file);
        assert.ok(usage.gateway.tokens > 500, `${usage.gateway.tokens} tokens`);
        assert.ok(usage.gateway.cost > 0.5);
        assert.equal(usage.clients[0]?.client, "device1");
      },
    );
  });
}

function usageOf(file: string) {
  return readCounters(file, (meters) => usageIn(meters, { epoch: Date.now(), heaviest: 1 }));
}

/** Tokens of the client that used most. */
async function usedIn(file: string): Promise<number> {
  return (await usageOf(file)).clients[0]?.tokens ?? 0;
}

/** Accepted requests of the client that used most. */
async function requestsIn(file: string): Promise<number> {
  return (await usageOf(file)).clients[0]?.requests ?? 0;
}

/** The same home without a budget of tokens. */
async function writeRates(home: string): Promise<void> {
  const { readFile } = await import("node:fs/promises");
  const config = JSON.parse(await readFile(join(home, "config.json"), "utf8"));
  delete config.channel_list.mqtt.settings.limits.tokens_per_day;
  await writeConfig(home, config);
}

it(
  "gateway --check tells what was used today, beside the gateway that runs",
  needsMosquitto,
  async () => {
    await using place = await openPlace({ tokens_per_day: 28 }, 0);
    place.model.otherwise(answers("hello"));
    await using gateway = await startGateway({ home: place.home });
    for (let asked = 0; asked < 3; asked += 1) await place.ask();
    const { stdout, code, stderr } = await picoclaw(["gateway", "--check"], { home: place.home });
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^ok +usage\.today +the gateway today: \d requests, 28 tokens, cost 0\.028 of 100$/m,
    );
    assert.match(
      stdout,
      /^warn +usage\.today +client device1 of mqtt: .*28 tokens of 28.*\(try: .+\)$/m,
    );
    assert.match(stdout, /^ok +usage\.today +mqtt today: \d requests, 28 tokens, cost 0\.028/m);
    // What no limit hangs on is worth no write of its own: it is on the disk at the end at the latest.
    gateway.kill("SIGTERM");
    await gateway.ended;
    const later = await picoclaw(["gateway", "--check"], { home: place.home });
    assert.match(
      later.stdout,
      /^ok +usage\.today +mqtt today: 2 requests, 28 tokens, cost 0\.028, refused 1 budget$/m,
    );
    assert.match(
      later.stdout,
      /^ok +usage\.today +client device1 of mqtt: was refused 1 times today$/m,
    );
  },
);

it(
  "who is denied hears forbidden once, whatever it sends, and cannot tell how it was understood",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    const config = {
      channel_list: {
        mqtt: {
          enabled: true,
          type: "mqtt",
          deny_from: ["device1"],
          settings: { broker: broker.url, agent_id: "assistant" },
        },
      },
    };
    await writeConfig(home.path, config);
    await using denied = await openTestDevice(broker.url, RESPONSE);
    await using friend = await openTestDevice(broker.url, RESPONSE.replace("device1", "device2"));
    await using gateway = await startGateway({ home: home.path });
    const nonsense = ["{", "[1]", '{"text":""}', "x".repeat(300_000), '{"text":"/stop"}', "\u0000"];
    for (let round = 0; round < 20; round += 1) {
      for (const payload of nonsense) await denied.client.publishAsync(REQUEST, payload);
    }
    // On the same connection, so that the broker delivers it behind all the rest.
    await denied.client.publishAsync(REQUEST.replace("device1", "device2"), '{"text":"/help"}');
    await friend.message();
    const heard = denied.texts().map((text) => JSON.parse(text).error.code);
    assert.deepEqual(heard, ["forbidden"]);
    gateway.kill("SIGTERM");
    await gateway.ended;
    const { stdout } = await picoclaw(["gateway", "--check"], { home: home.path });
    assert.match(
      stdout,
      /^ok +usage\.today +mqtt today: 1 request, 0 tokens, refused 120 forbidden$/m,
    );
  },
);

it(
  "as many turns as `max_parallel_turns` says ask the model at the same time",
  needsMosquitto,
  async () => {
    const turns = 300;
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    const all = Promise.withResolvers<void>();
    model.otherwise(async (request, response) => {
      if (model.requests.length === turns) all.resolve();
      await all.promise;
      await answers("All are here.")(request, response);
    });
    const defaults = { model_name: "m", max_parallel_turns: turns };
    const model_list = [{ model_name: "m", model: "openai/m", api_base: model.base }];
    const more = { agents: { defaults }, model_list };
    await writeConfig(home.path, quickConfig(broker.url, {}, more));
    await using gateway = await startGateway({ home: home.path });
    using device = await connectDevice(ASSISTANT, { port: broker.port, qos: 0, version: 4 });
    const asked = Array.from({ length: turns }, (_, client) => device.ask(`${client}`, "Who is?"));
    await until(
      `${turns} calls at once: ${gateway.stderr().slice(-500)}`,
      () => model.requests.length === turns,
    );
    await Promise.all(asked);
  },
);
