import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connectAsync } from "mqtt";
import { dialogueOf } from "../support/model-server.ts";
import type { ChatMessage } from "../support/model-server.ts";
import { until } from "../support/until.ts";
import { openFaultHarness, withFaults, type FaultHarness } from "./fault-harness.ts";
import { answerTo } from "./model.ts";

const SUMMARY = "They said a lot.";
const SHORT = { summarize_message_threshold: 4 };

/** All model calls of turns, and all for summaries. */
const questions = ({ model }: FaultHarness, kind: "turn" | "summary") =>
  model.server.requests.filter(({ body }) => (body.tools ?? []).length > 0 === (kind === "turn"));

/** The messages of the last model call. */
function shown(harness: FaultHarness): {
  readonly system: string;
  readonly said: readonly unknown[];
} {
  const messages = questions(harness, "turn").at(-1)?.body.messages ?? [];
  const said = dialogueOf(messages).map(({ content }: ChatMessage) => content);
  return { system: messages[0]?.content ?? "", said };
}

async function answered(harness: FaultHarness, client: string): Promise<void> {
  harness.devices.ask(client);
  await until("it is answered", () => isQuiet(harness));
}

const isQuiet = ({ devices }: FaultHarness): boolean =>
  devices.unacknowledged() === 0 && devices.open().length === 0;

const turns = (...ids: readonly string[]): readonly string[] =>
  ids.flatMap((id) => [`a ${id}`, answerTo(`a ${id}`)]);

describe("a conversation whose gateway dies", () => {
  it(
    "while it is summarized is whole, and is summarized after its next turn",
    withFaults,
    async () => {
      await using harness = await openFaultHarness({ clients: ["a"], defaults: SHORT });
      await harness.start();
      for (let asked = 0; asked < 2; asked += 1) await answered(harness, "a");
      harness.devices.ask("a");
      await until("its turn runs", () => harness.model.turns.length === 3);
      harness.model.slow(60_000);
      await until("it is summarized", () => questions(harness, "summary").length === 1);
      await harness.kill();
      harness.model.slow(50);
      await harness.start();
      await answered(harness, "a");
      assert.deepEqual(shown(harness).said, [...turns("r0", "r1", "r2"), "a r3"]);
      await until("it is summarized anew", () => questions(harness, "summary").length > 1);
      assert.deepEqual(await harness.outcome(), []);
    },
  );

  it(
    "right after it was cut goes on with the summary and what came behind",
    withFaults,
    async () => {
      await using harness = await openFaultHarness({ clients: ["a"], defaults: SHORT });
      const first = await harness.start("condensed");
      for (let asked = 0; asked < 3; asked += 1) await answered(harness, "a");
      assert.equal((await first.ended).signal, "SIGKILL");
      await harness.start();
      await answered(harness, "a");
      const { system, said } = shown(harness);
      // The summary opens the conversation, as untrusted content with an acknowledgement.
      const [opening = "", , ...rest] = said;
      assert.ok(String(opening).includes(SUMMARY));
      assert.ok(!system.includes(SUMMARY));
      assert.deepEqual(rest, [...turns("r1", "r2"), "a r3"]);
      assert.deepEqual(await harness.outcome(), []);
    },
  );

  it("right after it was taken over from Go PicoClaw has that once", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: ["a"] });
    const sessions = join(harness.home, "workspace", "sessions");
    await mkdir(sessions, { recursive: true });
    const lines = [
      { role: "user", content: "then" },
      { role: "assistant", content: "long ago" },
    ];
    const text = lines.map((line) => JSON.stringify(line)).join("\n");
    await writeFile(join(sessions, "agent_main_mqtt_direct_a.jsonl"), text);
    const first = await harness.start("adopted");
    harness.devices.ask("a");
    assert.equal((await first.ended).signal, "SIGKILL");
    await harness.start();
    await until("it is answered", () => isQuiet(harness));
    assert.deepEqual(shown(harness).said, ["then", "long ago", "a r0"]);
    assert.deepEqual(await harness.outcome(), []);
  });

  for (const point of ["begun", "turned", "answered", "published", "delivered"]) {
    it(`at the point ${point} of /clear begins anew, and not again`, withFaults, async () => {
      await using harness = await openFaultHarness({ clients: ["a"] });
      await harness.start();
      await answered(harness, "a");
      await harness.kill();
      const dying = await harness.start(`${point}:1`);
      await using clearing = await clear(harness);
      assert.equal((await dying.ended).signal, "SIGKILL");
      await harness.start();
      await until("/clear is answered", () => clearing.heard.includes("Chat history cleared!"));
      await answered(harness, "a");
      assert.deepEqual(shown(harness).said, ["a r1"]);
      await answered(harness, "a");
      assert.deepEqual(shown(harness).said, [...turns("r1"), "a r2"]);
      assert.deepEqual(await harness.outcome(), []);
    });
  }
});

/** Sends one request to begin the conversation of `a` anew, and returns the answer. */
async function clear({ broker }: FaultHarness) {
  const heard: string[] = [];
  const connection = await connectAsync(`mqtt://127.0.0.1:${broker.port}`, { clientId: "clearer" });
  connection.on("message", (_, payload) => {
    const { id, text } = JSON.parse(String(payload));
    if (id === "clear") heard.push(text);
  });
  await connection.subscribeAsync("/picoclaw/assistant/a/response", { qos: 1 });
  const payload = JSON.stringify({ text: "/clear", id: "clear" });
  await connection.publishAsync("/picoclaw/assistant/a/request", payload, { qos: 1 });
  return { heard, [Symbol.asyncDispose]: () => connection.endAsync(true) };
}
