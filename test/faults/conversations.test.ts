import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connectAsync } from "mqtt";
import type { ChatMessage } from "../support/model-server.ts";
import { until } from "../support/until.ts";
import { answerTo } from "./model.ts";
import { openWorld, withFaults, type World } from "./world.ts";

const SUMMARY = "They said a lot.";
const SHORT = { summarize_message_threshold: 4 };

/** Every question of a turn, and every one for a summary. */
const questions = ({ model }: World, kind: "turn" | "summary") =>
  model.server.requests.filter(({ body }) => (body.tools ?? []).length > 0 === (kind === "turn"));

/** What the model was shown with the last question. */
function shown(world: World): { readonly system: string; readonly said: readonly unknown[] } {
  const messages = questions(world, "turn").at(-1)?.body.messages ?? [];
  const [system, ...said] = messages.map(({ content }: ChatMessage) => content);
  return { system: system ?? "", said };
}

async function answered(world: World, client: string): Promise<void> {
  world.devices.ask(client);
  await until("it is answered", () => isQuiet(world));
}

const isQuiet = ({ devices }: World): boolean =>
  devices.unacknowledged() === 0 && devices.open().length === 0;

const turns = (...ids: readonly string[]): readonly string[] =>
  ids.flatMap((id) => [`a ${id}`, answerTo(`a ${id}`)]);

describe("a conversation whose gateway dies", () => {
  it(
    "while it is summarized is whole, and is summarized after its next turn",
    withFaults,
    async () => {
      await using world = await openWorld({ clients: ["a"], defaults: SHORT });
      await world.start();
      for (let asked = 0; asked < 2; asked += 1) await answered(world, "a");
      world.devices.ask("a");
      await until("its turn runs", () => world.model.turns.length === 3);
      world.model.slow(60_000);
      await until("it is summarized", () => questions(world, "summary").length === 1);
      await world.kill();
      world.model.slow(50);
      await world.start();
      await answered(world, "a");
      assert.deepEqual(shown(world).said, [...turns("r0", "r1", "r2"), "a r3"]);
      await until("it is summarized anew", () => questions(world, "summary").length > 1);
      assert.deepEqual(await world.outcome(), []);
    },
  );

  it(
    "right after it was cut goes on with the summary and what came behind",
    withFaults,
    async () => {
      await using world = await openWorld({ clients: ["a"], defaults: SHORT });
      const first = await world.start("condensed");
      for (let asked = 0; asked < 3; asked += 1) await answered(world, "a");
      assert.equal((await first.ended).signal, "SIGKILL");
      await world.start();
      await answered(world, "a");
      const { system, said } = shown(world);
      // The summary opens the conversation, as data with a word that it was read.
      const [opening = "", , ...rest] = said;
      assert.ok(String(opening).includes(SUMMARY));
      assert.ok(!system.includes(SUMMARY));
      assert.deepEqual(rest, [...turns("r1", "r2"), "a r3"]);
      assert.deepEqual(await world.outcome(), []);
    },
  );

  it("right after it was taken over from Go PicoClaw has that once", withFaults, async () => {
    await using world = await openWorld({ clients: ["a"] });
    const sessions = join(world.home, "workspace", "sessions");
    await mkdir(sessions, { recursive: true });
    const lines = [
      { role: "user", content: "then" },
      { role: "assistant", content: "long ago" },
    ];
    const text = lines.map((line) => JSON.stringify(line)).join("\n");
    await writeFile(join(sessions, "agent_main_mqtt_direct_a.jsonl"), text);
    const first = await world.start("adopted");
    world.devices.ask("a");
    assert.equal((await first.ended).signal, "SIGKILL");
    await world.start();
    await until("it is answered", () => isQuiet(world));
    assert.deepEqual(shown(world).said, ["then", "long ago", "a r0"]);
    assert.deepEqual(await world.outcome(), []);
  });

  for (const point of ["begun", "turned", "answered", "published", "delivered"]) {
    it(`at the point ${point} of /clear begins anew, and not again`, withFaults, async () => {
      await using world = await openWorld({ clients: ["a"] });
      await world.start();
      await answered(world, "a");
      await world.kill();
      const dying = await world.start(`${point}:1`);
      await using clearing = await clear(world);
      assert.equal((await dying.ended).signal, "SIGKILL");
      await world.start();
      await until("/clear is answered", () => clearing.heard.includes("Chat history cleared!"));
      await answered(world, "a");
      assert.deepEqual(shown(world).said, ["a r1"]);
      await answered(world, "a");
      assert.deepEqual(shown(world).said, [...turns("r1"), "a r2"]);
      assert.deepEqual(await world.outcome(), []);
    });
  }
});

/** Asks once for the conversation of `a` to begin anew, and hears what is answered to that. */
async function clear({ broker }: World) {
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
