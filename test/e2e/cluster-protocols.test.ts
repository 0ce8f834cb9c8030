import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Client } from "@modelcontextprotocol/client";
import { connectAsync } from "mqtt";
import { A2A, asking, type Caller, CARD, openCaller, saidBy, taskCall } from "../support/a2a.ts";
import { openTestDevice } from "../support/channel.ts";
import { MqttTransport } from "../support/mcp-over-mqtt.ts";
import {
  answers,
  beginStream,
  hangs,
  type ModelServer,
  startModelServer,
  streamEvents,
} from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  NO_LIMITS,
  onceInCi,
  quickConfig,
  type Running,
  startGateway,
  writeConfig,
} from "../support/picoclaw.ts";
import { needsPostgres, sharedPostgres } from "../support/postgres.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || needsPostgres.skip || onceInCi.skip };

const PRESENCE = "$mcp-server/presence/picoclaw-mcp-assistant/picoclaw/assistant";

/** Three gateways of one database that serve other agents, or programs, each with one turn at a time. */
async function openGateways(what: "a2a" | "mcp") {
  const stack = new AsyncDisposableStack();
  const postgres = await sharedPostgres();
  const broker = stack.use(await startMosquitto());
  const model: ModelServer = stack.use(await startModelServer());
  const { path } = stack.use(await temporaryFolder());
  const seen = stack.use(await openTestDevice(broker.url, what === "a2a" ? CARD : PRESENCE));
  const entry = { model_name: "m", model: "openai/m", api_base: model.base, api_keys: ["sk-key"] };
  const protocol = what === "a2a" ? { a2a: A2A } : { mcp: { enabled: true } };
  const settings = { qos: 1, ...protocol, limits: NO_LIMITS, streaming: { interval_ms: 20 } };
  const store = postgres.url(await postgres.createDatabase());
  const homes = ["1", "2", "3"].map((name) => join(path, name));
  for (const home of homes) {
    const workspace = join(home, "workspace");
    const defaults = { model_name: "m", workspace, max_parallel_turns: 1 };
    const config = quickConfig(broker.url, settings, {
      agents: { defaults },
      model_list: [entry],
      gateway: { store, port: 0 },
    });
    await writeConfig(home, config);
  }
  const running = await Promise.all(homes.map((home) => startGateway({ home })));
  for (const gateway of running) stack.use(gateway);
  /** Those that have, or had, the connection of the protocol. */
  const serving = (): readonly Running[] =>
    running.filter(({ stderr }) => stderr().includes(`"channel":"mqtt ${what}","broker"`));
  await until("one serves", () => serving().length > 0 && seen.messages.length > 0);
  return {
    broker,
    model,
    seen,
    running,
    /** The one that serves; before another one did. */
    only(): Running {
      const [found, ...others] = serving();
      if (found === undefined || others.length > 0) throw new Error("it is not one that serves");
      return found;
    },
    caller: async (requester: string) => stack.use(await openCaller(broker.url, requester)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function resultOf(caller: Caller, method: "GetTask" | "CancelTask", task: string) {
  const name = `${method} ${task} ${caller.device.messages.length}`;
  await caller.send(taskCall(method, task), name);
  await until(`${name} is answered`, () => caller.events(name).length > 0);
  const [event] = caller.events(name);
  return event?.error?.code ?? event?.result;
}

function ends(caller: Caller, correlation: string): string[] {
  return caller.states(correlation).filter((state) => /COMPLETED|FAILED|CANCELED/.test(state));
}

describe("an A2A agent of three gateways with one database", { timeout: 120_000 }, () => {
  it(
    "answers a task once whose gateway is killed, also a retry, and stays online",
    needs,
    async () => {
      await using place = await openGateways("a2a");
      const { model, seen: cards } = place;
      const released = Promise.withResolvers<void>();
      model.script(hangs(), async (request, response) => {
        await released.promise;
        await answers("elsewhere")(request, response);
      });
      const [caller, tablet] = [await place.caller("phone"), await place.caller("tablet")];
      await caller.send(asking("t1", "hello", "ctx"), "c1");
      await model.received(0);
      await caller.send(asking("t1", "hello", "ctx"), "c2");
      await until("the retry is taken", () => caller.states("c2").includes("SUBMITTED"));
      // The one that hears has one place for turns: this one runs at another gateway.
      await tablet.send(asking("t2", "hello", "ctx"), "d1");
      await model.received(1);
      model.otherwise(answers("once"));
      const first = place.only();
      first.kill("SIGKILL");
      await first.ended;
      released.resolve();
      await tablet.ended("d1");
      assert.deepEqual([tablet.text("d1"), ends(tablet, "d1")], ["elsewhere", ["COMPLETED"]]);
      // This one waits at the broker for the gateway that takes over.
      await caller.send(asking("t1", "hello", "ctx"), "c3");
      await Promise.all(["c1", "c2", "c3"].map((one) => caller.ended(one)));
      assert.equal(model.requests.length, 3);
      for (const one of ["c1", "c2", "c3"]) {
        assert.equal(caller.text(one), "once");
        assert.deepEqual(ends(caller, one), ["COMPLETED"]);
      }
      const found = await resultOf(caller, "GetTask", "t1");
      assert.deepEqual(found, {
        id: "t1",
        contextId: "ctx",
        status: { state: "TASK_STATE_COMPLETED" },
        artifacts: [{ artifactId: "answer", parts: [{ text: "once" }] }],
      });
      assert.equal(await resultOf(caller, "GetTask", "t3"), -32001);
      assert.equal(await resultOf(caller, "CancelTask", "t1"), -32002);
      // Its clients were claimed after 15 s: the will of the one that was killed would have come before.
      assert.deepEqual(new Set(saidBy(cards)), new Set(["online agent"]));
    },
  );

  it(
    "has tasks answered by all, which any can cancel, and says offline at the end",
    needs,
    async () => {
      await using place = await openGateways("a2a");
      const { model, seen: cards, running } = place;
      model.script(hangs(), async (_, response) => {
        const [begin = "", token = "", ...others] = streamEvents({ text: ["far", " away"] });
        beginStream(response);
        response.write(begin + token);
        await until("a piece is heard", () => tablet.text("c2") === "far");
        await until("it is looked at", () => looked.length > 0);
        response.end(others.join(""));
      });
      const looked: unknown[] = [];
      const [phone, tablet] = [await place.caller("phone"), await place.caller("tablet")];
      await phone.send(asking("t1", "hello", "a"), "c1");
      await model.received(0);
      // The one that hears has one place for turns.
      await tablet.send(asking("t2", "hello", "b"), "c2");
      await until("a piece is heard", () => tablet.text("c2") === "far");
      looked.push(await resultOf(tablet, "GetTask", "t2"));
      await tablet.ended("c2");
      assert.equal(tablet.text("c2"), "far away");
      assert.deepEqual(
        tablet.states("c2").filter((state) => state !== "WORKING"),
        ["SUBMITTED", "COMPLETED"],
      );
      assert.deepEqual(looked, [
        { id: "t2", contextId: "b", status: { state: "TASK_STATE_WORKING" }, artifacts: [] },
      ]);

      const first = place.only();
      const others = running.filter((gateway) => gateway !== first);
      await until("another one says that it answered", () =>
        others.some(({ stderr }) => /"msg":"answered"[^\n]*tablet/.test(stderr())),
      );
      model.script(hangs());
      await tablet.send(asking("t3", "hello", "b"), "c3");
      const { gone } = await model.received(2);
      const cancelled = { state: "TASK_STATE_CANCELED" };
      const outcome = await resultOf(tablet, "CancelTask", "t3");
      assert.deepEqual(outcome, { id: "t3", contextId: "b", status: cancelled, artifacts: [] });
      await tablet.ended("c3");
      assert.deepEqual(ends(tablet, "c3"), ["CANCELED"]);
      await until("its turn has ended", () => gone.aborted);

      // It stops, and leaves the task that runs there to the others.
      model.otherwise(answers("at last"));
      first.kill("SIGTERM");
      await tablet.send(asking("t4", "hello", "b"), "c4");
      await tablet.ended("c4");
      assert.equal(tablet.text("c4"), "at last");
      assert.deepEqual(new Set(saidBy(cards)), new Set(["online agent"]));
      for (const gateway of running) gateway.kill("SIGTERM");
      await Promise.all(running.map(({ ended }) => ended));
      await until("it is offline", () => saidBy(cards).at(-1) === "offline agent");
    },
  );
});

describe("an MCP server of three gateways with one database", { timeout: 120_000 }, () => {
  it("is at one of them, and at another one when that is killed", needs, async () => {
    await using place = await openGateways("mcp");
    const { broker, model, seen } = place;
    model.otherwise(answers("It is warm."));
    const ask = async (): Promise<string> => {
      const mqtt = await connectAsync(broker.url, { protocolVersion: 5, clientId: "kitchen" });
      const client = new Client({ name: "test", version: "1" });
      await client.connect(new MqttTransport(mqtt, "kitchen"));
      const asked = { name: "ask", arguments: { question: "is it warm?" } };
      const { content } = await client.callTool(asked);
      await client.close();
      return JSON.stringify(content);
    };
    assert.match(await ask(), /It is warm/);
    const first = place.only();
    const before = seen.messages.length;
    first.kill("SIGKILL");
    await until("another one serves", () => seen.messages.length >= before + 2);
    // Sessions of the one that was killed are over.
    assert.deepEqual(
      seen.texts().map((text) => text !== ""),
      [true, false, true],
    );
    assert.match(await ask(), /It is warm/);
    assert.equal(model.requests.length, 2);
  });
});
