import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { IPublishPacket } from "mqtt";
import { openTestDevice, run, type TestDevice } from "../support/channel.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const AGENT = "/picoclaw/assistant";

/** A broker, a model and a home in which the client `desk` may write to `panel-*`. */
async function openPlace(settings: object = {}) {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const { path: home } = stack.use(await temporaryFolder());
  const entry = {
    model_name: "m",
    model: "openai/m",
    api_base: model.base,
    api_keys: ["sk-key-12345"],
  };
  const profiles = {
    desk: { tools: ["message"], message_to: ["panel-*"] },
    "*": { tools: ["message"] },
  };
  const defaults = { model_name: "m", workspace: join(home, "workspace") };
  const more = { agents: { defaults }, model_list: [entry], tools: { profiles } };
  await writeConfig(home, quickConfig(broker.url, settings, more));
  return {
    broker,
    model,
    home,
    listen: (client: string) => openTestDevice(broker.url, `${AGENT}/${client}/response`),
    async ask(client: string, id: string) {
      const device = await openTestDevice(broker.url, `${AGENT}/${client}/response`);
      const payload = JSON.stringify({ text: "?", id, stream: false });
      await device.client.publishAsync(`${AGENT}/${client}/request`, payload, { qos: 1 });
      await until(`${id} is answered`, () => partsOf(device).some((part) => part.id === id));
      return device;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function partsOf({ messages }: Pick<TestDevice, "messages">) {
  return messages.map(({ payload }) => JSON.parse(String(payload)));
}

function sends(content: string, to: object = {}) {
  return calls({ name: "message", arguments: JSON.stringify({ content, ...to }) });
}

function expiryOf({ properties }: IPublishPacket): number {
  return properties?.messageExpiryInterval ?? 0;
}

describe("a message that the agent sends by itself", () => {
  it(
    "reaches its client before the answer, at QoS 1 on a channel with QoS 0; listen marks it",
    needsMosquitto,
    async () => {
      await using place = await openPlace();
      await using _gateway = await startGateway({ home: place.home });
      const listening = startPicoclaw(["listen", "desk", "--only", "responses", "-n", "2"], {
        home: place.home,
      });
      await listening.said("connected");
      place.model.script(sends("One moment."), answers("Done."));
      await using device = await place.ask("desk", "r1");
      const [push, answer] = partsOf(device);
      assert.match(push.id, /^message-[0-9a-f]{16}$/);
      const { id: _, ...rest } = push;
      assert.deepEqual(rest, { text: "One moment.", push: true, seq: 0, done: true });
      assert.deepEqual(answer, { text: "Done.", id: "r1", seq: 0, done: true });
      const [pushed, answered] = device.messages;
      assert.deepEqual([pushed?.qos, answered?.qos], [1, 0]);
      assert.ok(pushed && expiryOf(pushed) > 86_000);
      const { stdout } = await listening.ended;
      const kinds = stdout.split("\n").map((line) => line.split("\t").slice(1).join(": "));
      assert.deepEqual(kinds.slice(0, 2), ["desk: push: One moment.", "desk: response: Done."]);
    },
  );

  it("is no answer to `send`", needsMosquitto, async () => {
    await using place = await openPlace({ qos: 1 });
    await using _gateway = await startGateway({ home: place.home });
    place.model.script(sends("One moment."), answers("Done."));
    const sent = await picoclaw(["send", "desk", "?"], { home: place.home });
    assert.equal(sent.stdout, "Done.\n");
    assert.equal(sent.code, 0);
  });

  it(
    "waits for a device that is away, also while the gateway is killed, and comes once",
    needsMosquitto,
    async () => {
      await using place = await openPlace({ qos: 1 });
      {
        await using first = await startGateway({ home: place.home });
        place.model.script(sends("Tea is ready.", { chat_id: "panel-1" }), answers("Told."));
        await using _desk = await place.ask("desk", "r1");
        first.kill("SIGKILL");
        await first.ended;
      }
      await using second = await startGateway({ home: place.home });
      await second.said("answer resumed");
      await using panel = await place.listen("panel-1");
      await panel.message();
      // What comes after it shows that it does not come twice.
      place.model.script(sends("Cake, too.", { chat_id: "panel-1" }), answers("Told."));
      await using _desk = await place.ask("desk", "r2");
      await panel.message(1);
      const texts = partsOf(panel).map(({ text, push }) => [text, push]);
      assert.deepEqual(texts, [
        ["desk: Tea is ready.", true],
        ["desk: Cake, too.", true],
      ]);
    },
  );

  it("waits at the broker for a device with a persistent session", needsMosquitto, async () => {
    await using place = await openPlace({ qos: 1 });
    const topic = `${AGENT}/panel-2/response`;
    const subscribe = ["-p", `${place.broker.port}`, "-i", "panel-2", "-c", "-q", "1", "-t", topic];
    await run("mosquitto_sub", ...subscribe, "-E");
    await using _gateway = await startGateway({ home: place.home });
    place.model.script(sends("Tea is ready.", { chat_id: "panel-2" }), answers("Told."));
    await using _desk = await place.ask("desk", "r1");
    const heard = JSON.parse(await run("mosquitto_sub", ...subscribe, "-C", "1"));
    assert.equal(heard.text, "desk: Tea is ready.");
    assert.equal(heard.push, true);
  });

  it("goes to no client that its profile does not name", needsMosquitto, async () => {
    await using place = await openPlace({ qos: 1 });
    await using _gateway = await startGateway({ home: place.home });
    await using all = await openTestDevice(place.broker.url, `${AGENT}/+/response`);
    const others = ["panel-1", "desk/../panel-1", "+", "other/desk"];
    place.model.script(
      calls(
        ...others.map((chat_id, index) => ({
          index,
          id: `call${index}`,
          name: "message",
          arguments: JSON.stringify({ content: "psst", chat_id }),
        })),
      ),
      answers("No."),
    );
    await using _guest = await place.ask("guest", "r1");
    await until("the answer", () => partsOf(all).some(({ id }) => id === "r1"));
    assert.equal(all.messages.length, 1);
    const results = place.model.requests[1]?.body.messages.filter(({ role }) => role === "tool");
    assert.equal(results?.length, others.length);
    for (const result of results ?? []) assert.match(String(result.content), /may not write to/);
  });
});
