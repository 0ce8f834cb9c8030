import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connectAsync, type MqttClient } from "mqtt";
import { CLIENT_KITS, type StartKit } from "../support/client-kits.ts";
import {
  answers,
  hangs,
  startModelServer,
  streamEvents,
  tokenTexts,
} from "../support/model-server.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { needsNodeRed, startNodeRed } from "../support/node-red.ts";
import {
  modelConfig,
  onceInCi,
  startClient,
  startGateway,
  temporaryHome,
  type Ended,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const examples = join(import.meta.dirname, "../../examples");
const boards = join(import.meta.dirname, "../support/boards");
const AGENT = "/picoclaw/assistant";
const hasPython = existsSync("/usr/bin/python3") || process.env["CI"];
const once = { skip: needsMosquitto.skip || onceInCi.skip || !hasPython };

/** The small clients of `examples/`, as their documents start them. */
const KITS = {
  ...CLIENT_KITS,
  // On CPython: what it uses of MicroPython is in test/support/boards.
  micropython: (client: string, text: string, port: number) => {
    const path = `${join(examples, "micropython")}:${join(boards, "micropython")}`;
    const words = [`PYTHONPATH=${path}`, "/usr/bin/python3", join(boards, "micropython/ask.py")];
    return startClient("env", ["PYTHONDONTWRITEBYTECODE=1", ...words, client, text, `${port}`]);
  },
} satisfies Record<string, StartKit>;

const kits = Object.entries(KITS);

/** What an agent may send, and seldom does: one list of parts for each time that it is asked. */
const DIFFICULT = [
  [{ text: "Later.", error: { code: "busy", retry_after: 1 }, seq: 0, done: true }],
  // The first part went lost.
  [
    { text: "two ", seq: 1 },
    { text: "three", seq: 2, done: true },
  ],
  // The answer begins again, after a sign of life.
  [
    { text: "no", seq: 0 },
    { text: "", seq: 1 },
    { text: "one ", seq: 0 },
    { text: "two ", seq: 1 },
    { text: "three", seq: 2, done: true },
  ],
];

/** Answers each client with these lists in turn, between parts that are for others, and pushes. */
async function startDifficultAgent(port: number) {
  const agent: MqttClient = await connectAsync(`mqtt://127.0.0.1:${port}`);
  const asked: { readonly topic: string; readonly id: string }[] = [];
  agent.on("message", (topic, payload) => {
    const { id }: { id: string } = JSON.parse(payload.toString());
    asked.push({ topic, id });
    const count = asked.filter((one) => one.topic === topic).length;
    const response = topic.replace(/request$/, "response");
    agent.publish(response, "not JSON");
    for (const part of DIFFICULT[count - 1] ?? []) {
      agent.publish(response, JSON.stringify({ text: "another's", id: "r-0", seq: 0, done: true }));
      agent.publish(
        response,
        JSON.stringify({ text: "!", id: "p", push: true, seq: 0, done: true }),
      );
      agent.publish(response, JSON.stringify({ id, ...part }));
    }
  });
  await agent.subscribeAsync(`${AGENT}/+/request`);
  return {
    asked,
    retain: (topic: string, text: string) => agent.publishAsync(topic, text, { retain: true }),
    [Symbol.asyncDispose]: () => agent.endAsync(true),
  };
}

type DifficultAgent = Awaited<ReturnType<typeof startDifficultAgent>>;

/** The client printed the answer alone, and asked three times under one id. */
function assertAsked(agent: DifficultAgent, name: string, { stdout, stderr, code }: Ended): void {
  assert.deepEqual({ stdout, stderr, code }, { stdout: "one two three\n", stderr: "", code: 0 });
  const ids = agent.asked.filter(({ topic }) => topic === `${AGENT}/${name}/request`);
  assert.equal(ids.length, 3, name);
  assert.equal(new Set(ids.map(({ id }) => id)).size, 1, name);
}

describe("a client kit", () => {
  it("waits when told to, joins parts by number and asks again under its id", once, async () => {
    await using broker = await startMosquitto();
    await using agent = await startDifficultAgent(broker.port);
    const ended = await Promise.all(
      kits.map(async ([name, start]) => {
        await using kit = start(name, "count", broker.port);
        return { name, ...(await kit.ended) };
      }),
    );
    for (const { name, ...one } of ended) assertAsked(agent, name, one);
  });

  it("gets one answer though gateway and broker are killed meanwhile", once, async () => {
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    // The answers before the kill do not end; those after it are whole.
    const begun = streamEvents({ text: "token0 token1 ", done: false }).slice(0, 2).join("");
    model.script(...kits.map(() => hangs(begun)));
    model.otherwise(answers(tokenTexts(20).join("")));
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using first = await startGateway({ home: home.path });
    const running = kits.map(([name, start]) => start(name, "tell me", broker.port));
    await using stack = new AsyncDisposableStack();
    for (const kit of running) stack.use(kit);
    await model.received(running.length - 1);
    first.kill("SIGKILL");
    await first.ended;
    await broker.kill();
    await broker.start();
    await using _second = await startGateway({ home: home.path });
    const whole = `${tokenTexts(20).join("")}\n`;
    for (const kit of running) {
      const { stdout, stderr, code } = await kit.ended;
      assert.deepEqual({ stdout, stderr, code }, { stdout: whole, stderr: "", code: 0 });
    }
    // An interrupted turn runs again; a question that is asked again does not.
    assert.equal(model.requests.length, running.length * 2);
  });

  it("says what the agent refuses", once, async () => {
    await using broker = await startMosquitto();
    const settings = modelConfig(broker.url, "http://127.0.0.1:9/v1");
    await using home = await temporaryHome(settings);
    await using _gateway = await startGateway({ home: home.path });
    for (const [name, start] of kits) {
      await using kit = start(name, " ", broker.port);
      const { stdout, stderr, code } = await kit.ended;
      assert.equal(code, 1, name);
      assert.equal(stdout, "");
      assert.match(stderr, /^error: .+ \(bad_request\)\n$/);
    }
  });
});

describe("a client kit without a password", () => {
  it("says at once that the broker refuses it", once, async () => {
    const lines = ["listener {port} 127.0.0.1", "allow_anonymous false"];
    await using broker = await startMosquitto({ lines });
    for (const start of [KITS.python, KITS.node]) {
      await using kit = start("kitchen", "hi", broker.port);
      const { code, stdout, stderr } = await kit.ended;
      assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
      assert.match(stderr, /^error: .*refuse.*: .*not authori[sz]ed/i);
    }
  });
});

/** For boards no compiler is here: the machine's own, with what they use of a board in test/support/boards. */
const STRICTLY = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"];
const CJSON = ["-I", join(boards, "cjson"), "-l:libcjson.so.1"];
const ESP_IDF = [
  ...["main.c", "picoclaw.c"].map((name) => join(examples, "esp-idf/main", name)),
  join(boards, "esp-idf/esp-idf.c"),
];
const COMPILERS = {
  arduino: [
    "g++",
    ...STRICTLY,
    `-I${join(boards, "arduino")}`,
    "-include",
    "Arduino.h",
    "-x",
    "c++",
    join(examples, "arduino/picoclaw/picoclaw.ino"),
  ],
  "esp-idf": ["gcc", ...STRICTLY, "-std=gnu17", "-I", join(boards, "esp-idf"), ...ESP_IDF],
};

/** Its input is what mosquitto_sub hears, and mosquitto_pub publishes what it writes to file descriptor 3. */
const BETWEEN = String.raw`
exec 4< <(exec mosquitto_sub -p "$2" -t "$3/response"); sub=$!
exec 3> >(exec mosquitto_pub -p "$2" -t "$3/request" -l)
"$1" <&4; code=$?; kill $sub; exit $code
`;

describe("a client for boards, compiled for this machine", () => {
  it("waits when told to, joins parts by number and asks again under its id", once, async () => {
    await using broker = await startMosquitto();
    await using agent = await startDifficultAgent(broker.port);
    await using folder = await temporaryFolder();
    const run = async (name: string, [compiler = "", ...words]: readonly string[]) => {
      const program = join(folder.path, name);
      await using compiling = startClient(compiler, [...words, ...CJSON, "-o", program]);
      const { code, stderr } = await compiling.ended;
      assert.equal(code, 0, stderr);
      await agent.retain(`${AGENT}/${name}/response`, "input comes");
      const place = [program, `${broker.port}`, `${AGENT}/${name}`];
      await using running = startClient("bash", ["-c", BETWEEN, "bash", ...place]);
      assertAsked(agent, name, await running.ended);
    };
    await Promise.all(Object.entries(COMPILERS).map(([name, words]) => run(name, words)));
  });
});

interface FlowNode {
  readonly type: string;
}

describe("the flow for Node-RED", () => {
  it(
    "waits when told to, joins parts by number and asks again under its id",
    needsNodeRed,
    async () => {
      await using broker = await startMosquitto();
      await using agent = await startDifficultAgent(broker.port);
      await using folder = await temporaryFolder();
      const file = join(folder.path, "answers");
      const flow: FlowNode[] = JSON.parse(
        await readFile(join(examples, "node-red/flow.json"), "utf8"),
      );
      // The broker of this test, a question that asks itself at the start, and a file for the answer.
      const changes: Readonly<Record<string, object>> = {
        "mqtt-broker": { broker: "127.0.0.1", port: `${broker.port}` },
        inject: { once: true },
        debug: { type: "file", filename: file, filenameType: "str", overwriteFile: "true" },
      };
      for (const node of flow) Object.assign(node, changes[node.type]);
      const port = await freePort();
      await using _red = await startNodeRed(join(folder.path, "node-red"), { port, flow });
      const answer = (): Promise<string> => readFile(file, "utf8").catch(() => "");
      await until("the answer is there", async () => (await answer()) !== "");
      assert.equal(await answer(), "one two three");
      assert.equal(new Set(agent.asked.map(({ id }) => id)).size, 1);
    },
  );
});
