import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { it } from "node:test";
import type { IClientPublishOptions } from "mqtt";
import { openTestDevice } from "../support/channel.ts";
import { answers, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const PAYLOADS = process.env["PICOCLAW_UNDER_TEST"] === "binary" ? 3000 : 1000;
const API_KEY = "sk-storm-0123456789abcdef0123456789abcdef";
const PASSWORD = "pass-word-of-the-storm";
const ROOT = "/picoclaw/assistant";

/** The same numbers for the same seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Says of whatever fails how it is run again. */
function seeded(storm: (next: (below: number) => number) => Promise<void>) {
  return async (): Promise<void> => {
    const seed = Number(process.env["STORM_SEED"] ?? process.env["PICOCLAW_SEED"] ?? 1);
    try {
      await storm(numbers(seed));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`with STORM_SEED=${seed}: ${why}`, { cause: error });
    }
  };
}

function randomPayload(next: (below: number) => number): Buffer {
  const bytes = Buffer.from(Array.from({ length: 1 + next(200) }, () => next(256)));
  const values = [null, true, -1e308, "", [], {}, [{ text: "x" }], "\u0000\u202e\ud800"];
  const value = (): unknown => values[next(values.length)];
  switch (next(5)) {
    case 0:
      return bytes;
    case 1:
      return Buffer.from(JSON.stringify({ text: value(), id: value(), stream: value() }));
    case 2:
      return Buffer.from(JSON.stringify({ text: bytes.toString("latin1"), __proto__: 1, id: "x" }));
    case 3:
      return Buffer.from('{"text":"hello","id":"r"}').subarray(0, 1 + next(24));
    default:
      return Buffer.from(`{"text":"\\u202e${bytes.toString("hex")}","constructor":{}}`);
  }
}

const ODD: readonly string[] = [
  "..",
  ".",
  "$SYS",
  " ",
  "  x  ",
  "%2e%2e",
  "~",
  "\\",
  '"',
  "'",
  "\u{1F980}",
  "\u202Eevil",
  "\uFF0B",
  "\uFE5F",
  "e\u0301",
  "\u00E9",
  "null",
  "__proto__",
  "constructor",
  "status",
  "info",
  "request",
  "a".repeat(65_000),
];

function oddClients(next: (below: number) => number): readonly string[] {
  const more = Array.from({ length: 100 - ODD.length }, () =>
    Array.from({ length: 1 + next(12) }, () => String.fromCodePoint(0xa1 + next(0x2000))).join(""),
  );
  return [...ODD, ...more];
}

const POINTED: readonly string[] = [
  "$SYS/broker",
  "#",
  "+",
  `${ROOT}/+/response`,
  `${ROOT}/other/response`,
  `${ROOT}/status`,
  `${ROOT}/info`,
  `${ROOT}/storm/request`,
  `${ROOT}/storm/`,
  `${ROOT}/storm/../other/response`,
  "/",
  "elsewhere",
  "a/b",
  `${ROOT}/storm`,
  `${ROOT}//response`,
  `${ROOT}/STORM/response`,
  `${ROOT}/storm2/response`,
  `/picoclaw/assistant2/storm/response`,
  " ",
  `${ROOT}/storm/#`,
];

const nested = (levels: number): string => `{"text":${"[".repeat(levels)}${"]".repeat(levels)}}`;

for (const protocol of [5, 4] as const) {
  it(
    `a storm of ${PAYLOADS} payloads, odd clients, pointed topics and deep documents is lived through, over MQTT ${protocol}`,
    needsMosquitto,
    seeded(async (next) => {
      await using folder = await temporaryFolder();
      const passwords = join(folder.path, "passwords");
      await once(
        spawn("mosquitto_passwd", ["-b", "-c", passwords, "storm", PASSWORD], { stdio: "ignore" }),
        "exit",
      );
      await using broker = await startMosquitto({
        lines: [
          "listener {port} 127.0.0.1",
          "allow_anonymous false",
          `password_file ${passwords}`,
          "max_queued_messages 0",
        ],
      });
      await using model = await startModelServer();
      model.otherwise(answers("all is well"));
      const models = {
        agents: { defaults: { model_name: "m" } },
        model_list: [
          { model_name: "m", model: "openai/m", api_base: model.base, api_key: API_KEY },
        ],
      };
      const settings = {
        username: "storm",
        password: PASSWORD,
        qos: 1,
        protocol_version: protocol,
      };
      await writeConfig(folder.path, quickConfig(broker.url, settings, models));
      await using gateway = await startGateway({ home: folder.path }, ["--debug"]);
      const credentials = { username: "storm", password: PASSWORD };
      await using all = await openTestDevice(broker.url, "#", credentials);
      await using device = await openTestDevice(broker.url, `${ROOT}/calm/response`, credentials);
      await using storm = await openTestDevice(broker.url, `${ROOT}/storm/response`, credentials);

      const waited: number[] = [];
      const calm = async (id: string): Promise<void> => {
        const begin = performance.now();
        await device.client.publishAsync(`${ROOT}/calm/request`, `{"text":"hello","id":"${id}"}`, {
          qos: 1,
        });
        await until(`the calm client is served: ${gateway.stderr().slice(-1500)}`, () =>
          device
            .texts()
            .some((text) => text.includes(`"id":"${id}"`) && text.includes('"done":true')),
        );
        waited.push(performance.now() - begin);
      };
      const send = async (
        client: string,
        payload: Buffer | string,
        options: IClientPublishOptions = {},
      ) => {
        await storm.client.publishAsync(`${ROOT}/${client}/request`, payload, {
          qos: 1,
          ...options,
        });
      };
      await calm("before");
      for (let index = 0; index < PAYLOADS; index += 1) {
        await send(`s${index % 50}`, randomPayload(next), { qos: next(2) === 0 ? 0 : 1 });
        if (index % 500 === 0) await calm(`during-${index}`);
      }
      for (const client of oddClients(next)) await send(client, '{"text":"hello"}').catch(() => {});
      await calm("odd");
      for (const responseTopic of POINTED) {
        // Some of them the client library does not send, and some the broker refuses: the rest arrives.
        const properties = { responseTopic, correlationData: Buffer.from("c") };
        await send("storm", '{"text":"hello"}', { properties }).catch(() => {});
      }
      await calm("pointed");
      for (const levels of [5_000, 50_000, 120_000]) await send("storm", nested(levels));
      await send("storm", nested(1_000_000));
      await send("large", `{"text":"${"x".repeat(2 ** 21)}"}`);
      await calm("after");
      await until("the large one is refused", () =>
        all.texts().some((text) => text.includes('"code":"too_large"')),
      );

      const log = gateway.stderr();
      assert.equal(log.split('"msg":"connected"').length, 2, "no reconnect");
      assert.ok(log.includes("bad_request"));
      // A 3.1.1 broker carries no response topics.
      assert.equal(
        log.includes("request rejected: its response topic is not allowed"),
        protocol === 5,
      );
      for (const secret of [API_KEY, PASSWORD])
        assert.ok(!log.includes(secret), "no secret in the log");
      assert.ok(Math.max(...waited) < 20_000, `the calm client waited ${Math.max(...waited)} ms`);
      const legal = /^\/picoclaw\/assistant\/([^/]+\/(request|response)|status|info)$/;
      const topics = [...new Set(all.messages.map(({ topic }) => topic))];
      assert.deepEqual(
        topics.filter((topic) => !legal.test(topic)),
        [],
      );
      const answered = topics.filter((topic) => topic.endsWith("/response"));
      const asked = new Set(topics.filter((topic) => topic.endsWith("/request")));
      for (const topic of answered) {
        assert.ok(asked.has(topic.replace(/response$/, "request")), `${topic} answers nobody`);
      }
      gateway.kill("SIGTERM");
      assert.equal((await gateway.ended).code, 0);
    }),
  );
}

for (const protocol of [5, 4] as const) {
  it(
    `a document of 5,000 levels and 2 MB that is delivered is answered, over MQTT ${protocol}`,
    needsMosquitto,
    async () => {
      await using folder = await temporaryFolder();
      await using broker = await startMosquitto();
      const settings = { qos: 1, protocol_version: protocol, max_payload_bytes: 3_145_728 };
      await writeConfig(folder.path, quickConfig(broker.url, settings));
      await using gateway = await startGateway({ home: folder.path });
      await using device = await openTestDevice(broker.url, `${ROOT}/deep/response`);
      const long = "x".repeat(2 ** 21);
      const documents = [
        `{"text":"hello","id":"above","more":"${long}","deep":${nested(5_000)}}`,
        `{"id":"below","deep":${nested(5_000)},"more":"${long}","text":"hello"}`,
        `{"id":"text","text":${nested(5_000).replace("}", `,"${long}"}`)}}`,
        `{"id":"end","text":"hello"}`,
      ];
      for (const document of documents) {
        await device.client.publishAsync(`${ROOT}/deep/request`, document, { qos: 1 });
      }
      const ends = () => device.texts().filter((text) => /"done":true/.test(text));
      await until("all are answered", () => ends().length >= documents.length);
      assert.ok(ends().some((text) => text.includes('"id":"end"')));
      assert.equal(gateway.stderr().split('"msg":"connected"').length, 2, "no reconnect");
    },
  );
}
