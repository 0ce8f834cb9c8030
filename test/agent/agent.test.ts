import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import {
  agentConfig,
  toolProfile,
  toolSettings,
  collect,
  modelEntry,
} from "../support/agent-config.ts";
import { answers, calls, refuses, startModelServer } from "../support/model-server.ts";
import type { Behaviour, ModelServer } from "../support/model-server.ts";
import { until } from "../support/until.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const NEVER = new AbortController().signal;
const asItIs = <T>(workspace: T): T => workspace;

/** The tools that a turn offers, and what the device tool told. */
async function offered(pin: string | undefined, gateway: string | undefined) {
  server.script(calls({ name: "device", arguments: '{"facts":["hostname"]}' }));
  server.otherwise(answers("Fine."));
  const { exec, ...tools } = toolSettings();
  const config = {
    ...agentConfig([modelEntry({ api_base: server.base })]),
    tools: { ...tools, exec: { ...exec, ...(pin !== undefined && { pin }) } },
  };
  const cluster = gateway === undefined ? undefined : { gateway, share: asItIs };
  const agent = await openAgent({ config, log: SILENT, cluster });
  await collect(agent.answer({ history: async () => [], text: "?", client: "c", signal: NEVER }));
  await agent.close();
  const { tools: names = [], messages } = server.requests.at(-1)?.body ?? assert.fail();
  return {
    names: names.map(({ function: { name } }) => name),
    measured: messages.at(-1)?.content ?? "",
  };
}

describe("the agent of a configuration", () => {
  it("with a model asks it, and offers the device's facts", async () => {
    server.script(
      calls({ name: "device", arguments: '{"facts":["hostname","time"]}' }),
      answers("That is it."),
    );
    const config = agentConfig([modelEntry({ api_base: server.base })]);
    const { answer: agent } = await openAgent({ config, log: SILENT });
    const { text } = await collect(
      agent({ history: async () => [], text: "?", client: "c", signal: NEVER }),
    );
    assert.equal(text, "That is it.");
    assert.match(
      server.requests[1]?.body.messages.at(-1)?.content ?? "",
      /^<data_only from="device hostname, time">\nThe hostname is .+\.\nThe time is .+\.\n<\/data_only>$/,
    );
  });

  it("reads the history once for the model, and not for a command that does without it", async () => {
    server.otherwise(answers("Fine."));
    const config = agentConfig([modelEntry({ api_base: server.base })]);
    const { answer: agent } = await openAgent({ config, log: SILENT });
    let read = 0;
    const history = async () => {
      read += 1;
      return [];
    };
    const reads: number[] = [];
    for (const text of ["/help", "hello", "/context"]) {
      read = 0;
      await collect(agent({ history, text, client: "c", signal: NEVER }));
      reads.push(read);
    }
    assert.deepEqual(reads, [0, 1, 1]);
  });

  it("in a cluster uses commands and files only where it is pinned, and says whose device it measured", async () => {
    const whole = await offered("other", undefined);
    assert.ok(whole.names.includes("exec") && whole.names.includes("read_file"));
    assert.doesNotMatch(whole.measured, /gateway/);
    const here = await offered("here", "here");
    assert.deepEqual(here.names, whole.names);
    assert.match(here.measured, /\nOf the device of the gateway here:\nThe hostname is /);
    for (const pin of [undefined, "other"]) {
      const { names } = await offered(pin, "here");
      assert.deepEqual(
        names,
        whole.names.filter((name) => name !== "exec" && !/_(?:file|dir|image)$/.test(name)),
      );
    }
  });

  it("with a model that cannot work is a failure at start", async () => {
    const config = agentConfig([modelEntry({ model: "copilot/x" })], { model_name: "test" });
    await assert.rejects(
      openAgent({ config, log: SILENT }),
      (thrown) => thrown instanceof Failure && thrown.code === "config",
    );
  });

  it("tells what a background task found until a turn has ended well, and lets it do no more than its client", async () => {
    server.otherwise(async (request, response) => {
      const { messages } = request.body;
      const asked = messages.findLast(({ role }) => role === "user")?.content;
      const result = messages.findLast(({ role }) => role === "tool")?.content;
      const played = (): Behaviour => {
        if (asked === "fail") return refuses(400);
        if (result !== undefined && result !== null) return answers(`found: ${result}`);
        if (asked === "begin") return calls({ name: "spawn", arguments: '{"task":"look"}' });
        if (asked === "look") return calls({ name: "exec", arguments: '{"command":"echo hi"}' });
        return answers("fine");
      };
      await played()(request, response);
    });
    const { tools, ...config } = agentConfig([modelEntry({ api_base: server.base })]);
    const profiles = [toolProfile({ pattern: "c", tools: ["spawn"] })];
    const agent = await openAgent({
      config: { ...config, tools: { ...tools, profiles } },
      log: SILENT,
    });
    const facts = { history: async () => [], client: "c", isRemote: true, signal: NEVER };
    const say = (text: string) => collect(agent.answer({ ...facts, text }));
    const lastAsked = () => JSON.stringify(server.requests.at(-1)?.body.messages);
    await say("begin");
    await until("the task has ended", async () => {
      return (await say("/subagents")).text.startsWith("No active");
    });
    const shown =
      /from=\\"background task task-1 look\\">\\nfound: .*error: there is no tool .{1,6}exec/;
    await assert.rejects(say("fail"), Failure);
    assert.match(lastAsked(), shown);
    await say("hello");
    assert.match(lastAsked(), shown);
    await say("hello again");
    assert.doesNotMatch(lastAsked(), shown);
    await agent.close();
  });
});
