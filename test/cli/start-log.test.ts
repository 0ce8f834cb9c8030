import assert from "node:assert/strict";
import { it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { logStart } from "../../src/cli/runtime/start-log.ts";
import type { MqttChannel } from "../../src/config/contract.ts";
import { loadConfig } from "../../src/config/load.ts";
import { createMemoryLog } from "../support/memory-log.ts";

async function channelsOf(...brokers: readonly string[]): Promise<readonly MqttChannel[]> {
  const flags = { broker: brokers.join(), agent: "kitchen", prefix: "/home" };
  const loaded = await loadConfig({ env: {}, home: "/nowhere", flags });
  if (loaded instanceof Error) throw loaded;
  return loaded.config.channels;
}

const refused = () => Promise.reject(new Error("refused"));
const ADDRESSES = ["http://127.0.0.1:18790", "http://[::1]:18790"];
const gateway = { mcp: { enabled: false }, ollama: { enabled: false } };
const place = { config: "/etc/config.json", host: "localhost", addresses: ADDRESSES, gateway };
const model = () => ({ name: "gpt", provider: "openai", model: "gpt-5.4" });

it("says what a device needs, and started only when the channel is subscribed", async () => {
  const subscribed = Promise.withResolvers<void>();
  const log = createMemoryLog();
  const { lines } = log;
  const dialled = await channelsOf("tcp://broker:1883");
  logStart({ dialled, model, subscribed: () => subscribed.promise }, { ...place, log });
  await setImmediate();
  assert.deepEqual(
    lines.map(({ message }) => message),
    ["gateway waits until its channels are subscribed"],
  );
  assert.equal(lines[0]?.fields["page"], "http://localhost:18790/");
  subscribed.resolve();
  await setImmediate();
  assert.deepEqual(lines.slice(1), [
    {
      level: "info",
      message: "channel is served",
      fields: {
        channel: "mqtt",
        agent: "kitchen",
        broker: "tcp://broker:1883",
        request: "/home/kitchen/<client>/request",
        response: "/home/kitchen/<client>/response",
      },
    },
    {
      level: "info",
      message: "gateway started",
      fields: {
        config: "/etc/config.json",
        model: "gpt (openai, gpt-5.4)",
        page: "http://localhost:18790/",
        health: ADDRESSES.join(" "),
      },
    },
  ]);
});

it("a built-in broker has the URL that devices take, and other hosts their own page", async () => {
  const log = createMemoryLog();
  const { lines } = log;
  const dialled = await channelsOf("embedded://127.0.0.1:1884");
  const running = { dialled, model: () => undefined, subscribed: () => Promise.resolve() };
  logStart(running, { ...place, host: "::1", addresses: ["http://[::1]:80"], log });
  await setImmediate();
  const facts = Object.assign({}, ...lines.map(({ fields }) => fields));
  assert.equal(facts.broker, "mqtt://127.0.0.1:1884");
  assert.equal(facts.page, "http://[::1]:80/");
  assert.equal(facts.model, "none, offline agent");
});

it("what other programs find at the port is there with its URL", async () => {
  const log = createMemoryLog();
  const dialled = await channelsOf("tcp://broker:1883");
  const enabled = { mcp: { enabled: true }, ollama: { enabled: true } };
  const running = { dialled, model, subscribed: () => Promise.resolve() };
  logStart(running, { ...place, gateway: enabled, log });
  await setImmediate();
  const facts = log.lines.find(({ message }) => message === "gateway started")?.fields;
  assert.equal(facts?.["mcp"], "http://localhost:18790/mcp");
  assert.equal(facts?.["ollama"], "http://localhost:18790/");
});

it("a channel that is refused for good is never said to be served", async () => {
  const log = createMemoryLog();
  const { lines } = log;
  const dialled = await channelsOf("tcp://broker:1883");
  logStart({ dialled, model, subscribed: refused }, { ...place, log });
  await setImmediate();
  assert.ok(!lines.some(({ message }) => message === "gateway started"), JSON.stringify(lines));
});
