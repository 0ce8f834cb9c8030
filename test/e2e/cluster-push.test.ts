import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import { answers, calls, type ScriptedCall, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
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
const AGENT = "/picoclaw/assistant";

/** `desk` may write to the hall, and run commands that its phone allows. */
const PROFILES = {
  desk: { tools: ["exec", "message"], message_to: ["hall"], confirm: { by: ["phone"] } },
  "*": { tools: [] },
};

function pushesOf({ messages }: TestDevice): { readonly text: string }[] {
  return messages
    .map(({ payload }) => JSON.parse(String(payload)))
    .filter(({ push }) => push === true);
}

function send({ client }: TestDevice, name: string, text: string): Promise<unknown> {
  const payload = JSON.stringify({ text, id: text });
  return client.publishAsync(`${AGENT}/${name}/request`, payload, { qos: 1 });
}

function callOf(index: number, name: string, input: object): ScriptedCall {
  return { index, id: `call${index}`, name, arguments: JSON.stringify(input) };
}

/** Three gateways of one database and one workspace; all of them are killed at once. */
async function openGateways() {
  const stack = new AsyncDisposableStack();
  const postgres = await sharedPostgres();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const { path } = stack.use(await temporaryFolder());
  const workspace = join(path, "workspace");
  await mkdir(workspace);
  const entry = {
    model_name: "m",
    model: "openai/m",
    api_base: model.base,
    api_keys: ["sk-key-1"],
  };
  const config = quickConfig(
    broker.url,
    { qos: 1 },
    {
      agents: { defaults: { model_name: "m", workspace, summarize_message_threshold: 0 } },
      model_list: [entry],
      gateway: { store: postgres.url(await postgres.createDatabase()), name: "here", port: 0 },
      tools: { profiles: PROFILES, exec: { pin: "here", sandbox: "none" } },
    },
  );
  const homes = [1, 2, 3].map((number) => join(path, `home${number}`));
  for (const home of homes) await writeConfig(home, config);
  let running: readonly Running[] = [];
  stack.defer(async () => {
    for (const gateway of running) await gateway[Symbol.asyncDispose]();
  });
  return {
    broker,
    model,
    workspace,
    async start() {
      running = await Promise.all(homes.map((home) => startGateway({ home })));
    },
    async kill() {
      for (const gateway of running) gateway.kill("SIGKILL");
      await Promise.all(running.map(({ ended }) => ended));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

describe("three gateways with one database that are killed", () => {
  it("push once to a device that was away, and make a confirmed call once", needs, async () => {
    await using gateways = await openGateways();
    const { broker, model, workspace } = gateways;
    const listen = (client: string) => openTestDevice(broker.url, `${AGENT}/${client}/response`);
    await using desk = await listen("desk");
    await using phone = await listen("phone");
    await using status = await openTestDevice(broker.url, `${AGENT}/status`);
    await gateways.start();
    // Before one of them has subscribed for the first time the broker keeps no request.
    await until("they hear", () => status.texts().includes("online"));
    model.script(
      calls(
        callOf(0, "message", { content: "Tea!", chat_id: "hall" }),
        callOf(1, "exec", { command: "echo once >> ran; sleep 60" }),
      ),
      answers("Sent, and asked."),
    );
    await send(desk, "desk", "do it");
    await until("the question", () => pushesOf(phone).length === 1);
    await until("the answer", () => desk.texts().some((text) => text.includes("and asked.")));
    const id = /\/confirm (\w+)/.exec(pushesOf(phone)[0]?.text ?? "")?.[1];
    await send(phone, "phone", `/confirm ${id}`);
    const ran = () => readFile(join(workspace, "ran"), "utf8").catch(() => "");
    await until("it runs", async () => (await ran()) === "once\n");
    await gateways.kill();

    model.otherwise(answers("It was cut off."));
    await gateways.start();
    await using hall = await listen("hall");
    await until("the outcome", () => pushesOf(desk).length === 1, 60_000);
    await hall.message();
    assert.equal(pushesOf(desk)[0]?.text, "It was cut off.");
    // All that was left is done: the next question has its answer.
    await send(desk, "desk", "more?");
    await until("the answer", () => desk.texts().some((text) => text.includes('"more?"')));
    assert.equal(await ran(), "once\n");
    assert.deepEqual(
      pushesOf(hall).map(({ text }) => text),
      ["desk: Tea!"],
    );
    assert.equal(pushesOf(desk).length, 1);
  });
});
