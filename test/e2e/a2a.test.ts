import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, it } from "node:test";
import {
  A2A,
  asking,
  Caller,
  CARD,
  facts,
  openCaller,
  REQUESTS,
  taskCall,
} from "../support/a2a.ts";
import { openTestDevice } from "../support/channel.ts";
import {
  answers,
  beginStream,
  type Behaviour,
  calls,
  hangs,
  type ModelServer,
  startModelServer,
  streamEvents,
  streamsSlowly,
  tokenTexts,
} from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { quickConfig, startClient, startGateway, temporaryHome } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const needs = { ...needsMosquitto, timeout: 60_000 };
/** A broker, a model and a home whose agent serves other agents. */
async function openPlace(a2a: object = {}, tools: object = {}, more: object = {}) {
  const stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model: ModelServer = stack.use(await startModelServer());
  const entry = { model_name: "m", model: "openai/m", api_base: model.base, api_keys: ["sk-key"] };
  const settings = { a2a: { ...A2A, ...a2a }, streaming: { interval_ms: 20 }, ...more };
  const config = quickConfig(broker.url, settings, {
    agents: { defaults: { model_name: "m" } },
    model_list: [entry],
    tools,
  });
  const home = stack.use(await temporaryHome(config));
  return {
    broker,
    model,
    home: home.path,
    async start() {
      const gateway = stack.use(await startGateway({ home: home.path }));
      await gateway.said('"channel":"mqtt a2a"');
      return gateway;
    },
    caller: async (requester: string) => stack.use(await openCaller(broker.url, requester)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The name of each tool that the model was offered. */
function offered({ requests }: ModelServer): string[] {
  return (requests.at(-1)?.body.tools ?? []).map((tool) => tool.function.name);
}

describe("the agent card", () => {
  it("is retained, says whether the agent is there, and why not", needs, async () => {
    await using place = await openPlace({ description: "Knows the house." });
    const gateway = await place.start();
    await using cards = await openTestDevice(place.broker.url, CARD);
    const card: Record<string, unknown> = JSON.parse(String((await cards.message(0)).payload));
    assert.deepEqual(
      [card["name"], card["description"], card["capabilities"]],
      ["assistant", "Knows the house.", { streaming: true }],
    );
    assert.deepEqual(card["supportedInterfaces"], [
      {
        url: `mqtt://127.0.0.1:${place.broker.port}`,
        protocolBinding: "MQTTv5+JSONRPCv2",
        protocolVersion: "1.0.0",
      },
    ]);
    const statusOf = async (index: number) =>
      (await cards.message(index)).properties?.userProperties;
    assert.deepEqual({ ...(await statusOf(0)) }, facts("online", "agent"));
    gateway.kill("SIGKILL");
    assert.deepEqual({ ...(await statusOf(1)) }, facts("offline", "lwt"));
    const again = await place.start();
    assert.deepEqual({ ...(await statusOf(2)) }, facts("online", "agent"));
    again.kill("SIGTERM");
    assert.deepEqual({ ...(await statusOf(3)) }, facts("offline", "agent"));
    await again.ended;
    // Nothing more came: no will after a clean end.
    assert.equal(cards.messages.length, 4);
  });
});

describe("the agent card that somebody replaced", () => {
  it("is published again, ever later, and that is told", needs, async () => {
    await using place = await openPlace();
    const gateway = await place.start();
    await using cards = await openTestDevice(place.broker.url, CARD);
    const { payload: ours } = await cards.message(0);
    const userProperties = facts("online", "agent");
    const lie = JSON.stringify({
      name: "assistant",
      supportedInterfaces: [{ url: "mqtt://evil" }],
    });
    const lies = [Buffer.from(lie), Buffer.alloc(200_000, "x")];
    for (const [index, payload] of lies.entries()) {
      const options = { qos: 1, retain: true, properties: { userProperties } } as const;
      await cards.client.publishAsync(CARD, payload, options);
      const { payload: again, properties } = await cards.message(2 * index + 2);
      assert.deepEqual(again, ours);
      assert.deepEqual({ ...properties?.userProperties }, userProperties);
    }
    await gateway.said('"msg":"somebody has replaced the agent card"');
    assert.doesNotMatch(gateway.stderr(), /evil|xxx/);
    gateway.kill("SIGTERM");
    await gateway.ended;
    assert.equal(cards.messages.length, 6);
    const last = cards.messages.at(-1)?.properties?.userProperties;
    assert.deepEqual({ ...last }, facts("offline", "agent"));
  });
});

describe("a task of another agent", () => {
  it("is submitted at once, and answered in pieces or as a whole", needs, async () => {
    await using place = await openPlace();
    place.model.otherwise(streamsSlowly(20, 20));
    await place.start();
    const caller = await place.caller("phone");
    place.model.script(async (_, response) => {
      const [begin = "", token = "", ...others] = streamEvents({ text: tokenTexts(20) });
      beginStream(response);
      response.write(begin + token);
      await until("a piece is heard", () =>
        caller.events("c1").some(({ result }) => result?.artifactUpdate !== undefined),
      );
      response.end(others.join(""));
    });
    await caller.send(asking("t1", "hello", "ctx"), "c1");
    await caller.ended("c1");
    const [first, ...rest] = caller.states("c1").filter((state) => state !== "WORKING");
    assert.deepEqual([first, ...rest], ["SUBMITTED", "COMPLETED"]);
    assert.match(caller.device.texts()[0] ?? "", /TASK_STATE_SUBMITTED/);
    assert.equal(caller.text("c1"), tokenTexts(20).join(""));
    const pieces = caller.events("c1").flatMap(({ result }) => result?.artifactUpdate ?? []);
    assert.ok(pieces.length > 1);
    assert.deepEqual(
      pieces.map(({ append, lastChunk }) => [append, lastChunk]),
      pieces.map((_, index) => [index > 0, index === pieces.length - 1]),
    );
    assert.ok(caller.events().every(({ id }) => id === "rpc-t1"));
    await caller.send(asking("t2", "hello", "ctx", "SendMessage"), "c2");
    await caller.ended("c2");
    const whole = caller.events("c2").flatMap(({ result }) => result?.artifactUpdate ?? []);
    assert.deepEqual([whole.length, whole[0]?.lastChunk], [1, true]);
  });

  it("runs once, however often it is sent, also over a kill -9 and a restart", needs, async () => {
    await using place = await openPlace();
    place.model.script(hangs());
    const first = await place.start();
    const caller = await place.caller("phone");
    await caller.send(asking("t1", "hello", "ctx"), "c1");
    await place.model.received(0);
    await caller.send(asking("t1", "hello", "ctx"), "c2");
    await until("the retry is taken", () => caller.states("c2").includes("SUBMITTED"));
    first.kill("SIGKILL");
    await first.ended;
    place.model.script(answers("once"));
    const second = await place.start();
    for (const one of ["c1", "c2"]) {
      await caller.ended(one);
      assert.equal(caller.text(one), "once");
      assert.equal(caller.states(one).filter((state) => state === "COMPLETED").length, 1);
    }
    second.kill("SIGTERM");
    await second.ended;
    await place.start();
    await caller.send(taskCall("GetTask", "t1"), "g1");
    await caller.send(taskCall("CancelTask", "t1"), "x1");
    await until("both are answered", () => caller.events("x1").length === 1);
    assert.deepEqual(caller.events("g1")[0]?.result, {
      id: "t1",
      contextId: "ctx",
      status: { state: "TASK_STATE_COMPLETED" },
      artifacts: [{ artifactId: "answer", parts: [{ text: "once" }] }],
    });
    assert.equal(caller.events("x1")[0]?.error?.code, -32002);
    await caller.send(asking("t1", "hello", "ctx"), "c3");
    await caller.ended("c3");
    assert.equal(caller.text("c3"), "once");
    assert.equal(place.model.requests.length, 2);
  });

  it(
    "is answered once on a Response Topic, to the latest request, and on each topic",
    needs,
    async () => {
      await using place = await openPlace();
      await place.start();
      const caller = await place.caller("phone");
      const elsewhere = `${caller.topic}/2`;
      await using other = await openTestDevice(place.broker.url, elsewhere);
      place.model.script(async (_, response) => {
        const [begin = "", token = "", ...others] = streamEvents({ text: ["on", "ce"] });
        beginStream(response);
        response.write(begin + token);
        await until("a piece is heard", () => caller.text("c1") === "on");
        await caller.send(asking("t1", "hello", "ctx"), "c2");
        await caller.send(asking("t1", "hello", "ctx"), "c3", elsewhere);
        await until("the retry has it, too", () => caller.text("c2") === "on");
        response.end(others.join(""));
      });
      await caller.send(asking("t1", "hello", "ctx"), "c1");
      await caller.ended("c2");
      assert.equal(caller.text("c2"), "once");
      await until("the other topic has it", () =>
        other.texts().some((text) => /COMPLETED/.test(text)),
      );
      assert.equal(caller.text("c1"), "on");
      assert.deepEqual(caller.states("c1"), ["SUBMITTED"]);
      assert.equal(place.model.requests.length, 1);
    },
  );

  it("is found after a kill -9 while it waits, and cancelled before it runs", needs, async () => {
    await using place = await openPlace();
    place.model.script(hangs(), hangs());
    const first = await place.start();
    const caller = await place.caller("phone");
    await caller.send(asking("t1", "hello", "ctx"), "c1");
    await caller.send(asking("t2", "hello", ""), "c2");
    await place.model.received(0);
    await until("the second waits", () => caller.states("c2").includes("SUBMITTED"));
    await caller.send(taskCall("GetTask", "t2"), "g0");
    await until("it is stored", () => caller.events("g0")[0]?.result?.id === "t2");
    first.kill("SIGKILL");
    await first.ended;
    await place.start();
    await place.model.received(1);
    for (const task of ["t1", "t2"]) await caller.send(taskCall("GetTask", task), `g ${task}`);
    await caller.send(taskCall("CancelTask", "t2"), "x2");
    await caller.send(taskCall("CancelTask", "t1"), "x1");
    await Promise.all(["c1", "c2"].map((one) => caller.ended(one)));
    const found = ["t1", "t2"].map((task) => caller.events(`g ${task}`)[0]?.result);
    assert.deepEqual(
      found.map((task) => [task?.status?.state, task?.contextId]),
      [
        ["TASK_STATE_WORKING", "ctx"],
        ["TASK_STATE_SUBMITTED", "t2"],
      ],
    );
    assert.deepEqual(
      ["c1", "c2"].map((one) => caller.states(one).at(-1)),
      ["CANCELED", "CANCELED"],
    );
    assert.equal(place.model.requests.length, 2);
    await caller.send(taskCall("GetTask", "t2"), "g3");
    await until("it is answered", () => caller.events("g3").length === 1);
    assert.equal(caller.events("g3")[0]?.result?.status?.state, "TASK_STATE_CANCELED");
  });

  it(
    "that is too long for one message is cut when it is looked at, and says so",
    needs,
    async () => {
      await using place = await openPlace({}, {}, { max_message_bytes: 4_000 });
      const long = "Long. ".repeat(1_000);
      place.model.script(answers(long));
      await place.start();
      const caller = await place.caller("phone");
      await caller.send(asking("t1", "hello"), "c1");
      await caller.ended("c1");
      assert.equal(caller.text("c1"), long);
      await caller.send(taskCall("GetTask", "t1"), "g1");
      await until("it is answered", () => caller.events("g1").length === 1);
      const [artifact] = caller.events("g1")[0]?.result?.artifacts ?? [];
      const text = artifact?.parts[0]?.text ?? "";
      assert.ok(text.length > 100 && long.startsWith(text));
      assert.deepEqual(artifact?.metadata, { truncated: true });
    },
  );

  it("is taken and answered while the agent was away", needs, async () => {
    await using place = await openPlace();
    place.model.otherwise(answers("later"));
    const first = await place.start();
    first.kill("SIGTERM");
    await first.ended;
    const caller = await place.caller("phone");
    await caller.send(asking("t1", "hello"), "c1");
    await place.start();
    await caller.ended("c1");
    assert.equal(caller.text("c1"), "later");
  });

  it("is in the conversation of its context, which is of its requester alone", needs, async () => {
    await using place = await openPlace();
    place.model.otherwise(answers("yes"));
    await place.start();
    const [phone, tablet] = [await place.caller("phone"), await place.caller("tablet")];
    const questions = () =>
      place.model.requests.at(-1)?.body.messages.filter(({ content }) => content?.startsWith("q"))
        .length;
    const ask = async (caller: Caller, task: string, context: string) => {
      await caller.send(asking(task, `q ${task}`, context), task);
      await caller.ended(task);
      return questions();
    };
    assert.equal(await ask(phone, "t1", "a"), 1);
    assert.equal(await ask(phone, "t2", "a"), 2);
    assert.equal(await ask(phone, "t3", "b"), 1);
    assert.equal(await ask(tablet, "t4", "a"), 1);
  });

  it("can be looked at and cancelled alone", needs, async () => {
    await using place = await openPlace();
    place.model.script(hangs(), answers("second"));
    await place.start();
    const caller = await place.caller("phone");
    await caller.send(asking("t1", "first", "a"), "c1");
    await place.model.received(0);
    await caller.send(asking("t2", "second", "b"), "c2");
    await caller.send(asking("t3", "third", "c"), "c3");
    await until("all are taken", () => caller.states().length === 3);
    await caller.send(taskCall("CancelTask", "t3"), "x3");
    await caller.send(taskCall("CancelTask", "t1"), "x1");
    await Promise.all(["c1", "c2", "c3"].map((one) => caller.ended(one)));
    assert.deepEqual(
      ["c1", "c2", "c3"].map((one) => caller.states(one).at(-1)),
      ["CANCELED", "COMPLETED", "CANCELED"],
    );
    await caller.send(taskCall("CancelTask", "t2"), "x2");
    await caller.send(taskCall("GetTask", "t2"), "g2");
    await caller.send(taskCall("GetTask", "t9"), "g9");
    await until("all are answered", () => caller.events("g9").length === 1);
    const resultOf = (name: string) => caller.events(name)[0]?.result ?? {};
    assert.deepEqual(
      [resultOf("x1").id, resultOf("x1").status?.state],
      ["t1", "TASK_STATE_CANCELED"],
    );
    assert.deepEqual(
      ["x2", "g9"].map((name) => caller.events(name)[0]?.error?.code),
      [-32002, -32001],
    );
    const { artifacts = [], contextId } = resultOf("g2");
    assert.deepEqual([artifacts.map(({ parts }) => parts[0]?.text), contextId], [["second"], "b"]);
    assert.equal(place.model.requests.length, 2);
  });

  it("says what is wrong with it", needs, async () => {
    await using place = await openPlace();
    place.model.otherwise(answers("ok"));
    await place.start();
    const caller = await place.caller("phone");
    const codeOf = async (payload: object | string, name: string): Promise<unknown> => {
      await caller.send(payload, name);
      await until(`${name} is answered`, () => caller.events(name).length > 0);
      return caller.events(name)[0]?.error?.code;
    };
    const without = { jsonrpc: "2.0", id: 1, method: "SendMessage", params: {} };
    assert.equal(await codeOf("{", "a"), -32700);
    assert.equal(await codeOf({ id: 1, method: "GetTask" }, "b"), -32600);
    assert.equal(await codeOf({ jsonrpc: "2.0", id: 1, method: "constructor" }, "c"), -32601);
    assert.equal(await codeOf(without, "d"), -32005);
    assert.equal(caller.events("d")[0]?.error?.data?.a2a_error, "transport_protocol_error");
    const image = { message: { taskId: "t", parts: [{ text: "see" }, { raw: "AAAA" }] } };
    assert.equal(await codeOf({ ...without, params: image }, "e"), -32602);
    await caller.send(asking("t1", "hello", "ctx"), "f");
    await caller.ended("f");
    assert.equal(await codeOf(asking("t1", "hello", "other"), "g"), -32602);
    const properties = { responseTopic: caller.topic };
    const bare = JSON.stringify(asking("t2", "hello"));
    await caller.device.client.publishAsync(REQUESTS, bare, { qos: 1, properties });
    await until("it is refused", () => caller.events().at(-1)?.error?.code === -32005);
    assert.equal(await codeOf(asking("t4", "hello"), "l".repeat(1_025)), -32005);
    const late = { ...properties, correlationData: Buffer.from("h"), messageExpiryInterval: 1 };
    place.model.script(hangs());
    await caller.device.client.publishAsync(REQUESTS, JSON.stringify(asking("t3", "late")), {
      qos: 1,
      properties: late,
    });
    await until("it has ended", () => caller.events("h").length > 1);
    const { error, result } = caller.events("h").at(-1) ?? {};
    assert.ok(error?.code === -32003 || /FAILED/.test(result?.statusUpdate?.status.state ?? ""));
  });
});

/** A model that asks another agent, again and again. */
const relays: Behaviour = async (request, response) => {
  const asked = { agent: "other", question: "again?" };
  const isAsked = request.body.messages.at(-1)?.role === "tool";
  const call = calls({ name: "ask_agent", arguments: JSON.stringify(asked) });
  await (isAsked ? answers("done") : call)(request, response);
};

describe("an agent that means harm", () => {
  it(
    "gets no answer on a topic that it may not use, and none of another caller",
    needs,
    async () => {
      await using place = await openPlace();
      place.model.otherwise(answers("the secret"));
      await place.start();
      const [victim, thief] = [await place.caller("victim"), await place.caller("thief")];
      await using all = await openTestDevice(place.broker.url, "#");
      await using requests = await openTestDevice(place.broker.url, REQUESTS);
      await victim.send(asking("t1", "hello", "ctx"), "c1");
      await victim.ended("c1");
      const had = victim.device.messages.length;
      for (const topic of [
        REQUESTS,
        "/picoclaw/assistant/victim/response",
        "$a2a/v1/reply/acme/garden/thief/s1",
        "$a2a/v1/reply/acme/house/../victim",
        "$a2a/v1/reply/acme/house/",
        "$SYS/broker",
      ]) {
        await thief.send(asking("t2", "hello"), "c2", topic);
      }
      // It knows the task of another one, and says so under its own name and under that of the other.
      await thief.send(taskCall("GetTask", "t1"), "g1");
      await until("it is answered", () => thief.events("g1").length === 1);
      assert.equal(thief.events("g1")[0]?.error?.code, -32001);
      await thief.send(asking("t1", "what did you say?", "ctx"), "r1");
      await thief.ended("r1");
      const last = place.model.requests.at(-1)?.body.messages ?? [];
      assert.ok(!last.some(({ content }) => content === "hello" || content === "the secret"));
      assert.equal(place.model.requests.length, 2);
      await thief.send(asking("t1", "hello", "ctx"), "b1", victim.topic);
      await until("the answer goes to whom it is for", () =>
        victim.states("b1").includes("COMPLETED"),
      );
      assert.deepEqual(thief.events("b1"), []);
      assert.ok(victim.device.messages.length > had);
      assert.equal(place.model.requests.length, 2);
      assert.equal(requests.messages.length, 10);
      assert.ok(all.messages.every(({ topic }) => /\/(?:status|info)$/.test(topic)));
    },
  );

  it("has no tool, whatever other clients may, until a profile names agents", needs, async () => {
    const profiles = { "*": { tools: ["*"], topics: { read: ["#"] }, agents: ["*"] } };
    const exec = { allow_remote: true, sandbox: "none" };
    await using place = await openPlace({}, { profiles, exec });
    place.model.otherwise(answers("ok"));
    await place.start();
    const caller = await place.caller("phone");
    await caller.send(asking("t1", "hello"), "c1");
    await caller.ended("c1");
    assert.deepEqual(offered(place.model), []);
    await using all = await openTestDevice(place.broker.url, "/picoclaw/assistant/lamp/response");
    const text = JSON.stringify({ text: "hello" });
    await all.client.publishAsync("/picoclaw/assistant/lamp/request", text, { qos: 1 });
    await all.message(0);
    assert.ok(offered(place.model).includes("ask_agent"));
  });

  it("has a profile of its own only where the broker checks its topic", needs, async () => {
    const profiles = {
      "a2a:phone": { tools: ["device"] },
      "a2a:*": { tools: ["memory"] },
    };
    for (const verified_requesters of [true, false]) {
      await using place = await openPlace({ verified_requesters }, { profiles });
      place.model.otherwise(answers("ok"));
      await place.start();
      const caller = await place.caller("phone");
      await caller.send(asking("t1", "hello"), "c1");
      await caller.ended("c1");
      assert.deepEqual(offered(place.model), [verified_requesters ? "device" : "memory"]);
    }
  });

  it("cannot have agents ask each other for ever", needs, async () => {
    const profiles = { "a2a:*": { tools: ["ask_agent"], agents: ["*"] } };
    await using place = await openPlace({}, { profiles });
    place.model.otherwise(relays);
    await place.start();
    await using asked = await openTestDevice(place.broker.url, "/picoclaw/other/+/request");
    const caller = await place.caller("phone");
    await caller.send(asking("t1", "hello"), "c1");
    const heard = await asked.message(0);
    assert.equal(JSON.parse(String(heard.payload)).hops, 2);
    assert.equal(heard.topic, "/picoclaw/other/agent:assistant:a2a%3Aunverified%3Aphone/request");
    const reply = { text: "no", id: JSON.parse(String(heard.payload)).id, seq: 0, done: true };
    await asked.client.publishAsync(
      heard.topic.replace("request", "response"),
      JSON.stringify(reply),
    );
    await caller.ended("c1");
  });
});

/** A requester on another library, with the payloads and properties of the specification. */
const PAHO = String.raw`
import json, sys, uuid
import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes

port = int(sys.argv[1])
reply = "$a2a/v1/reply/acme/house/paho/" + uuid.uuid4().hex
task, context = str(uuid.uuid4()), str(uuid.uuid4())

def ask(client, *ignored):
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = reply
    properties.CorrelationData = b"c-1"
    message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": "hello"}],
               "taskId": task, "contextId": context}
    request = {"jsonrpc": "2.0", "id": "1", "method": "SendStreamingMessage", "params": {"message": message}}
    client.publish("$a2a/v1/request/acme/house/assistant", json.dumps(request), qos=1, properties=properties)

def heard(client, ignored, message):
    assert message.properties.CorrelationData == b"c-1" and not message.retain and message.qos == 1
    result = json.loads(message.payload)["result"]
    update = result.get("statusUpdate") or result["artifactUpdate"]
    assert update["taskId"] == task and update["contextId"] == context
    if "status" in update:
        print(update["status"]["state"], flush=True)
        if update["status"]["state"] == "TASK_STATE_COMPLETED":
            client.disconnect()
    else:
        print(update["artifact"]["parts"][0]["text"], flush=True)

try:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, client_id="acme/house/paho", protocol=mqtt.MQTTv5)
except AttributeError:
    client = mqtt.Client(client_id="acme/house/paho", protocol=mqtt.MQTTv5)
client.on_connect = lambda *ignored: client.subscribe(reply, qos=1)
client.on_subscribe = ask
client.on_message = heard
client.connect("127.0.0.1", port)
client.loop_forever()
`;

const hasPython = { skip: needs.skip || (!existsSync("/usr/bin/python3") && !process.env["CI"]) };

it("paho asks by A2A over MQTT", { ...needs, ...hasPython }, async () => {
  await using place = await openPlace();
  place.model.otherwise(answers("It is late."));
  await place.start();
  const args = ["-c", PAHO, `${place.broker.port}`];
  await using paho = startClient("/usr/bin/python3", args);
  const { stdout, stderr, code } = await paho.ended;
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "TASK_STATE_SUBMITTED\nIt is late.\nTASK_STATE_COMPLETED\n");
});
