import assert from "node:assert/strict";
import { at, textAt } from "../../../src/base/unknown.ts";
import { runCommandLine } from "../../../src/cli/cli.ts";
import { createFakeHost } from "../../cli/host.ts";
import { until } from "../../support/until.ts";
import { played } from "../scenario-run.ts";
import { assertHolds, holds } from "../scenario.ts";
import type { Asking, Attack, Step } from "./attack.ts";
import type { Scene } from "./scene.ts";
import type { Surroundings } from "./surroundings.ts";

type Publishing = Extract<Step, { readonly publishes: unknown }>["publishes"];

type Hearing = Extract<Step, { readonly heard: unknown }>["heard"];

export async function askIn(asking: Asking, scene: Scene): Promise<void> {
  const { server } = scene;
  const faults: unknown[] = [];
  const from = server.requests.length;
  server.script(...asking.model.map((step) => played(step, faults)));
  const { text, code } = await (asking.here || asking.terminal
    ? askHere(asking, scene)
    : askOver(asking, scene));
  // A summary is made beside the answer.
  await until("the model was asked all of it", () => {
    return (
      faults.length > 0 ||
      code !== undefined ||
      server.requests.length >= from + asking.model.length
    );
  });
  if (faults.length > 0) throw faults[0];
  assert.equal(code, asking.error, `${asking.asks}: ${text}`);
  assertHolds(text, asking.hears, `the answer to ${asking.asks}`);
  for (const word of asking.not) assert.ok(!holds(text, word), `${word} was said: ${text}`);
  assert.equal(
    server.requests.length,
    from + asking.model.length,
    `questions to the model: ${text}`,
  );
}

export async function publish(said: Publishing, scene: Scene): Promise<void> {
  const { topic, payload, retain, response, correlation, times, model } = said;
  const { server, surroundings } = scene;
  const faults: unknown[] = [];
  const from = server.requests.length;
  server.script(...model.map((step) => played(step, faults)));
  for (let time = 0; time < times; time += 1) {
    const options = { retain, response, correlation };
    await surroundings.publish(topic, withCall(payload, surroundings), options);
  }
  await until("the model was asked all of it", () => {
    return faults.length > 0 || server.requests.length >= from + model.length;
  });
  if (faults.length > 0) throw faults[0];
  assert.equal(server.requests.length, from + model.length, "questions to the model");
}

/** What must be heard may still be on its way; what must not has no time of its own, so the last step tells. */
export async function hear(
  heard: Hearing,
  { heard: all }: Surroundings,
  from: number,
): Promise<void> {
  for (const [topic, expected] of Object.entries(heard)) {
    const said = (): string[] =>
      all.slice(from).flatMap((message) => (message.topic === topic ? [message.payload] : []));
    if (expected === null) assert.deepEqual(said(), [], `what was heard on ${topic}`);
    else {
      await until(`${topic} says ${expected.join(", ")}: ${said().join("\n")}`, () =>
        expected.every((word) => said().some((payload) => holds(payload, word))),
      );
    }
  }
}

interface Answer {
  readonly text: string;
  /** Of the error in which it ended. */
  readonly code: string | undefined;
}

async function askHere({ asks, terminal }: Asking, { env }: Scene): Promise<Answer> {
  const host = createFakeHost(["agent", "-m", asks], { env, isTTY: terminal });
  const code = await runCommandLine(host);
  return {
    text: host.stdout.text() + host.stderr.text(),
    code: code === 0 ? undefined : String(code),
  };
}

/** Over the broker, as a client: all that is answered comes on its own response topic. */
export async function askOver(
  { asks, client }: Pick<Asking, "asks" | "client">,
  scene: Scene,
): Promise<Answer> {
  const { surroundings, base } = scene;
  const id = crypto.randomUUID();
  const begin = surroundings.heard.length;
  const text = withCall(asks, surroundings);
  await surroundings.publish(`${base}/${client}/request`, JSON.stringify({ text, id }));
  const parts = (): unknown[] =>
    surroundings.heard.slice(begin).flatMap(({ topic, payload }) => {
      const part: unknown = topic.endsWith("/response") ? JSON.parse(payload) : undefined;
      if (textAt(part, "id") !== id) return [];
      assert.equal(topic, `${base}/${client}/response`, "an answer on another's topic");
      return [part];
    });
  await until(
    `${client} is answered`,
    () => parts().some((part) => at(part, "done") === true),
    30_000,
  );
  const answer = parts()
    .map((part) => textAt(part, "text"))
    .join("");
  const code = textAt(at(parts().at(-1), "error"), "code");
  return { text: answer, code: code === "" ? undefined : code };
}

/** Answers every question to these agents; `hops` and all else that a question says is nothing to them. */
export function answerAs(agents: Attack["agents"], surroundings: Surroundings): () => void {
  return surroundings.onHeard(({ topic, payload }) => {
    const [, agent = "", client = ""] = /^\/picoclaw\/([^/]+)\/([^/]+)\/request$/.exec(topic) ?? [];
    const text = agents[agent];
    if (text === undefined) return;
    const id = textAt(JSON.parse(payload), "id");
    const response = `/picoclaw/${agent}/${client}/response`;
    const parts = /^(\d+) times (.*)/s.exec(text);
    const [, times = "1", piece = text] = parts ?? [];
    for (let seq = 0; seq < Number(times); seq += 1) {
      const part = { text: piece, id, seq, done: parts === null };
      void surroundings.publish(response, JSON.stringify(part));
    }
  });
}

/** `<call>` stands for the id of the call that somebody was asked about last, `<x * 3>` for `xxx`. */
function withCall(written: string, { heard }: Surroundings): string {
  const text = written.replaceAll(/<(\S+) \* (\d+)>/g, (_, piece: string, times) =>
    piece.repeat(Number(times)),
  );
  if (!text.includes("<call>")) return text;
  const ids = heard.flatMap(({ payload }) => /Send \/confirm (\w{6})/.exec(payload)?.[1] ?? []);
  const id = ids.at(-1);
  assert.ok(id !== undefined, "nobody was asked about a call");
  return text.replaceAll("<call>", id);
}
