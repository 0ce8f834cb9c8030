import assert from "node:assert/strict";
import { it } from "node:test";
import {
  answers,
  echoes,
  refuses,
  startModelServer,
  streamsSlowly,
  tokenTexts,
  dialogueOf,
} from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  startPicoclaw,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const KEY = "sk-a-key-that-nobody-may-see";

function withModel(base: string, settings: object = {}): (broker: string) => object {
  const entry = { model_name: "m", provider: "openai", model: "m-1", api_base: base, api_key: KEY };
  const defaults = { model_name: "m", llm_retry_backoff_secs: 0.01 };
  return (broker) => quickConfig(broker, settings, { agents: { defaults }, model_list: [entry] });
}

interface Line {
  readonly type: string;
  readonly text?: string;
  readonly seq?: number;
  readonly done?: boolean;
  readonly outcome?: string;
  readonly ms_first?: number;
  readonly ms_last?: number;
}

function linesOf(stdout: string): Line[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line): Line => JSON.parse(line));
}

it(
  "a stream of 120 tokens over 2.4 s becomes 3 to 40 messages that concatenate exactly",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(streamsSlowly(120, 2_400));
    await writeConfig(home.path, withModel(model.base)(broker.url));
    await using _gateway = await startGateway({ home: home.path });
    const sent = await picoclaw(["send", "device1", "count", "--json"], { home: home.path });
    assert.equal(sent.code, 0, sent.stderr);
    const lines = linesOf(sent.stdout);
    const parts = lines.filter(({ type }) => type === "part");
    const result = lines.at(-1);
    assert.equal(parts.map(({ text }) => text).join(""), tokenTexts(120).join(""));
    assert.ok(parts.length >= 3 && parts.length <= 40, `${parts.length} messages`);
    assert.deepEqual(
      parts.map(({ seq }) => seq),
      [...parts.keys()],
    );
    assert.deepEqual(
      parts.filter(({ done }) => done),
      [parts.at(-1)],
    );
    assert.ok((result?.ms_first ?? Infinity) < (result?.ms_last ?? 0) / 2, JSON.stringify(result));
  },
);

it(
  "the words of the device reach the model unchanged, with the conversation before them",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(echoes());
    await writeConfig(home.path, withModel(model.base)(broker.url));
    await using gateway = await startGateway({ home: home.path });
    const words = '  a "quoted"\n\u001b[31mred\u001b[0m {{template}} 🦞 ';
    for (const text of ["first", words]) {
      const sent = await picoclaw(["send", "device1", "--raw"], { home: home.path, input: text });
      assert.equal(sent.code, 0, sent.stderr);
    }
    const other = await picoclaw(["send", "device2", "other"], { home: home.path });
    assert.equal(other.stdout, "other\n");
    const dialogue = (index: number): (string | null)[] =>
      dialogueOf(model.requests[index]?.body.messages).map(({ content }) => content);
    assert.deepEqual(dialogue(1), ["first", "first", words]);
    assert.deepEqual(dialogue(2), ["other"]);
    assert.equal(model.requests[0]?.headers.authorization, `Bearer ${KEY}`);
    assert.ok(!gateway.stderr().includes(KEY), "the key is in no log");
    assert.ok(!gateway.stderr().includes("quoted"), "payload text is in no log");
  },
);

it(
  "a model that fails for good is an error answer without its URL, key or body",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(
      refuses(500, { error: { message: `backend at ${model.base} with ${KEY} broke` } }),
    );
    await writeConfig(home.path, withModel(model.base)(broker.url));
    await using gateway = await startGateway({ home: home.path });
    const sent = await picoclaw(["send", "device1", "hi", "--raw"], { home: home.path });
    assert.equal(sent.code, 1);
    const payload: { error?: { code?: string }; text?: string } = JSON.parse(sent.stdout);
    assert.equal(payload.error?.code, "model");
    for (const output of [sent.stdout, sent.stderr, gateway.stderr()]) {
      assert.ok(!output.includes(KEY), output);
    }
    assert.ok(!sent.stdout.includes("127.0.0.1") && !sent.stdout.includes("backend"), sent.stdout);
    assert.equal(model.requests.length, 3);
  },
);

it(
  "one client's requests run in order and different clients' side by side",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.script(streamsSlowly(5, 1_000));
    model.otherwise(answers("quick"));
    await writeConfig(home.path, withModel(model.base)(broker.url));
    await using _gateway = await startGateway({ home: home.path });
    await using watcher = startPicoclaw(["listen", "--only", "responses", "--json"], {
      home: home.path,
    });
    await watcher.said('"connected"');
    await using slow = startPicoclaw(["send", "a", "one", "--no-stream"], { home: home.path });
    await model.received(0);
    await using second = startPicoclaw(["send", "a", "two", "--no-stream"], { home: home.path });
    await using other = startPicoclaw(["send", "b", "three", "--no-stream"], { home: home.path });
    await Promise.all([slow.ended, second.ended, other.ended]);
    await until("three answers", () => watcher.stdout().split('"type":"message"').length === 4);
    const order = [...watcher.stdout().matchAll(/"client":"(\w)"/g)].map(([, client]) => client);
    assert.deepEqual(order, ["b", "a", "a"]);
    assert.equal((await second.ended).stdout, "quick\n");
  },
);

it(
  "the same id within the window is the same request and gets the same bytes",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(streamsSlowly(20, 600));
    await writeConfig(home.path, withModel(model.base)(broker.url));
    await using _gateway = await startGateway({ home: home.path });
    const ask = ["send", "device1", "hello", "--id", "r-17", "--raw"];
    const first = await picoclaw(ask, { home: home.path });
    const second = await picoclaw(ask, { home: home.path });
    assert.equal(first.code, 0, first.stderr);
    assert.equal(second.stdout, first.stdout);
    assert.equal(model.requests.length, 1);
  },
);

it("/stop cancels the running turn of that client alone", needsMosquitto, async () => {
  await using model = await startModelServer();
  await using broker = await startMosquitto();
  await using home = await temporaryFolder();
  model.otherwise(streamsSlowly(1_000, 60_000));
  await writeConfig(home.path, withModel(model.base)(broker.url));
  await using _gateway = await startGateway({ home: home.path });
  await using running = startPicoclaw(["send", "device1", "tell me all", "--json"], {
    home: home.path,
  });
  await running.said('"type":"part"');
  const stop = await picoclaw(["send", "device1", "/stop"], { home: home.path });
  assert.equal(stop.code, 0, stop.stderr);
  const { code, stdout } = await running.ended;
  assert.equal(code, 1);
  assert.equal(linesOf(stdout).at(-1)?.outcome, "cancelled");
});

it(
  "the first signal lets a running answer finish, a second ends at once",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.script(streamsSlowly(20, 1_500));
    model.otherwise(streamsSlowly(1_000, 60_000));
    await writeConfig(home.path, withModel(model.base)(broker.url));
    await using gateway = await startGateway({ home: home.path });
    await using asking = startPicoclaw(["send", "device1", "hello"], { home: home.path });
    await model.received(0);
    gateway.kill("SIGTERM");
    assert.deepEqual((await asking.ended).stdout, tokenTexts(20).join("") + "\n");
    assert.equal((await gateway.ended).code, 0);

    await using other = await startGateway({ home: home.path });
    await using endless = startPicoclaw(["send", "device1", "hello"], { home: home.path });
    await model.received(1);
    other.kill("SIGINT");
    await other.said("stopping");
    other.kill("SIGINT");
    assert.equal((await other.ended).code, 130);
    endless.kill("SIGKILL");
  },
);

it("parts fit small clients when max_message_bytes says so", needsMosquitto, async () => {
  await using model = await startModelServer();
  await using broker = await startMosquitto();
  await using home = await temporaryFolder();
  const text = "Grüße an den kleinen 🦞 auf dem Brett. ".repeat(30).trim();
  model.otherwise(answers(text));
  await writeConfig(home.path, withModel(model.base, { max_message_bytes: 256 })(broker.url));
  await using _gateway = await startGateway({ home: home.path });
  const port = String(broker.port);
  const topic = "/picoclaw/assistant/device1/response";
  await using watcher = startClient("mosquitto_sub", ["-p", port, "-t", topic]);
  await until("subscribed", () => broker.log().includes(`${topic} (QoS 0)`));
  const sent = await picoclaw(["send", "device1", "hello"], { home: home.path });
  assert.equal(sent.stdout, `${text}\n`);
  await until("all parts", () => watcher.stdout().includes('"done":true'));
  const sizes = watcher
    .stdout()
    .trimEnd()
    .split("\n")
    .map((line) => Buffer.byteLength(line) + topic.length + 5);
  assert.ok(Math.max(...sizes) <= 256, String(sizes));
  assert.ok(sizes.length > 5);
});
