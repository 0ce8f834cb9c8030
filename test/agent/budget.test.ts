import assert from "node:assert/strict";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import type { Message } from "../../src/agent/contract.ts";
import type { Limits } from "../../src/base/contract.ts";
import { BOUNDS } from "../../src/cli/state/conversations.ts";
import type { ModelEntry, Prices } from "../../src/config/contract.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { laneOf } from "../../src/gateway/request-keys.ts";
import { usageIn } from "../../src/gateway/usage/report.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { ask } from "../gateway/client.ts";
import { NO_LIMITS, OPEN_TO_ALL } from "../gateway/setup.ts";
import { agentConfig, collect, modelEntry, toolProfile } from "../support/agent-config.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import {
  answers,
  answersWhole,
  calls,
  event,
  hangs,
  refuses,
  resets,
  startModelServer,
  streams,
  textEvent,
} from "../support/model-server.ts";
import type { Behaviour, ModelServer, ScriptedCall } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

let server: ModelServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  [server, folder] = await Promise.all([startModelServer(), temporaryFolder()]);
});
afterEach(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

interface Facts {
  readonly limits?: Partial<Limits>;
  readonly total?: Partial<Limits>;
  readonly gateway?: Partial<Limits>;
  readonly entries?: readonly ModelEntry[];
  readonly defaults?: Parameters<typeof agentConfig>[1];
}

/** A whole program but for its broker, on the folder of this test: what it counts is there for the next one. */
async function openProgram({ limits, total, gateway: all, entries, defaults }: Facts = {}) {
  const config = agentConfig(entries ?? [modelEntry({ api_base: server.base })], {
    workspace: join(folder.path, "workspace"),
    max_llm_retries: 0,
    ...defaults,
  });
  const tools = { ...config.tools, profiles: [toolProfile({ tools: ["*"] })] };
  const log = createMemoryLog();
  const { lines } = log;
  const agent = await openAgent({ config: { ...config, tools }, log });
  const store = await openSqliteStore<Message>(join(folder.path, "state", "picoclaw.db"), {
    owner: crypto.randomUUID(),
    now: () => Date.now(),
    bounds: { ...BOUNDS, windowMs: 600_000 },
    log,
    sole: true,
  });
  const gateway = createGateway<Message>({
    answer: agent.answer,
    get compact() {
      return agent.compact;
    },
    store,
    log,
    maxParallelTurns: 0,
    turnTimeoutMs: 60_000,
    limits: { ...NO_LIMITS, ...all },
    policies: new Map([
      [
        "mqtt",
        {
          ...OPEN_TO_ALL,
          // Where a limit hangs on what was counted, it is in the store at once.
          limits: { ...NO_LIMITS, tokens_per_day: 1_000_000, ...limits },
          totalLimits: { ...NO_LIMITS, ...total },
        },
      ],
    ]),
  });
  await gateway.resume();
  let asks = 0;
  const begin = (client: string, text: string) => {
    asks += 1;
    const asked = ask(text, { client, fingerprint: `${client} ${asks}` });
    void gateway.accept(asked.request);
    return asked;
  };
  return {
    store,
    lines,
    begin,
    async say(client: string, text: string) {
      const { error, ...last } = await begin(client, text).done;
      return { code: error?.code, retryAfter: error?.retryAfter, text: last.text };
    },
    async whole(client: string, text: string): Promise<string> {
      const asked = begin(client, text);
      await asked.done;
      return asked.text();
    },
    /** As the store has it: what a crash now would leave. */
    async used(client = "c") {
      const usage = usageIn(await store.counters(), { epoch: Date.now(), heaviest: 100 });
      const own = usage.clients.find((one) => one.client === client);
      return { tokens: own?.tokens ?? 0, cost: own?.cost ?? 0 };
    },
    async [Symbol.asyncDispose]() {
      await gateway.drain(0);
      await agent.close();
      await store.close();
    },
  };
}

const spawn = (task: string) => ({ name: "spawn", arguments: JSON.stringify({ task }) });
const measure = (index: number) => ({
  id: `m${index}`,
  name: "device",
  arguments: '{"facts":["uptime"]}',
});

describe("what a question used", () => {
  it("is what its provider tells", async () => {
    await using program = await openProgram();
    server.script(answers("hello"));
    await program.say("c", "hi");
    assert.equal((await program.used()).tokens, 14);
    const line = program.lines.find(({ message }) => message === "answered");
    assert.deepEqual([line?.fields["tokens_in"], line?.fields["tokens_out"]], [11, 3]);
  });

  const words = "word ".repeat(500);
  const unreported: readonly [name: string, behaviour: Behaviour, code: string | undefined][] = [
    ["no usage", streams({ text: words, usage: null }), undefined],
    ["no end", resets(textEvent(words)), "model"],
    ["another's error in the middle", streamsThenFails(words), "model"],
  ];
  for (const [name, behaviour, code] of unreported) {
    it(`is estimated from what was sent and heard where the answer has ${name}`, async () => {
      await using program = await openProgram();
      server.script(behaviour);
      assert.equal((await program.say("c", "hi")).code, code);
      const { tokens } = await program.used();
      // 1000 tokens heard, and the system prompt with its tools sent.
      assert.ok(tokens > 1500 && tokens < 12_000, `${tokens}`);
    });
  }

  it("is what a whole document tells, too", async () => {
    await using program = await openProgram();
    server.script(answersWhole({ content: "hello" }));
    await program.say("c", "hi");
    assert.equal((await program.used()).tokens, 12);
  });

  it("is nothing where the provider refused to answer", async () => {
    await using program = await openProgram();
    server.script(refuses(500), refuses(400), refuses(401), resets());
    for (let asked = 0; asked < 4; asked += 1) await program.say("c", "hi");
    // A runtime may send a question once more by itself where its connection was cut.
    assert.ok(server.requests.length >= 4);
    assert.equal((await program.used()).tokens, 0);
  });

  it("costs what the model costs that answered, also where another was asked first", async () => {
    const entry = (name: string, input: number, output: number, fallbacks: string[] = []) =>
      modelEntry({
        model_name: name,
        model: `openai/${name}`,
        api_base: server.base,
        prices: { input, output },
        fallbacks,
      });
    await using program = await openProgram({
      entries: [entry("cheap", 1000, 10_000, ["dear"]), entry("dear", 100_000, 1_000_000)],
    });
    server.script(refuses(500), answers("hello"), answers("hello"));
    await program.say("c", "hi");
    const { cost } = await program.used();
    assert.ok(Math.abs(cost - (11 * 0.1 + 3 * 1)) < 1e-9, `${cost}`);
    const line = program.lines.find(({ message }) => message === "answered");
    assert.equal(line?.fields["cost"], 4.1);
  });

  const details = { cached_tokens: 8000, cache_write_tokens: 1000 };
  const usage = { prompt_tokens: 10_000, completion_tokens: 100, prompt_tokens_details: details };
  const costs: readonly [name: string, prices: Partial<Prices>, cost: number][] = [
    ["the price of input where it has none of its own", {}, 10.45],
    ["its own price", { cached: 100 }, 3.25],
    ["its own price, and what a cache took another one", { cached: 100, cache_write: 2000 }, 4],
    ["nothing where that is free", { cached: 0 }, 2.45],
  ];
  for (const [name, prices, cost] of costs) {
    it(`costs for what a cache served ${name}`, async () => {
      const entry = modelEntry({
        api_base: server.base,
        prices: { input: 1000, output: 2000, ...prices },
      });
      await using program = await openProgram({ entries: [entry] });
      server.script(streams({ text: "hello", usage }));
      await program.say("c", "hi");
      const used = await program.used();
      assert.equal(used.tokens, 10_100);
      assert.ok(Math.abs(used.cost - cost) < 1e-9, `${used.cost}`);
      const line = program.lines.find(({ message }) => message === "answered");
      assert.deepEqual([line?.fields["tokens_cached"], line?.fields["cost"]], [8000, cost]);
    });
  }
});

function streamsThenFails(text: string): Behaviour {
  return async (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(textEvent(text));
    response.end(event({ error: { message: "overloaded", code: 500 } }));
    await Promise.resolve();
  };
}

describe("who tries to ask beyond the day's budget", () => {
  const budget = { limits: { tokens_per_day: 20 } };

  it("is refused with budget and the time until the next day, and nobody is asked", async () => {
    await using program = await openProgram(budget);
    server.otherwise(answers("hello"));
    assert.equal((await program.say("c", "1")).code, undefined);
    assert.equal((await program.say("c", "2")).code, undefined);
    const refused = await program.say("c", "3");
    assert.equal(refused.code, "budget");
    const whys = program.lines.map(({ fields }) => fields["why"]).filter(Boolean);
    assert.deepEqual(whys, ["tokens_per_day (20) of the client"]);
    assert.ok((refused.retryAfter ?? 0) >= 1 && (refused.retryAfter ?? 0) <= 25 * 3600);
    assert.equal(server.requests.length, 2);
    assert.equal((await program.say("other", "1")).code, undefined);
  });

  it("gets no more by starting the program again", async () => {
    server.otherwise(answers("hello"));
    for (let start = 0; start < 5; start += 1) {
      await using program = await openProgram(budget);
      await program.say("c", "?");
    }
    assert.equal(server.requests.length, 2);
  });

  it("gets no more by /clear, and commands that ask no model are answered all the same", async () => {
    await using program = await openProgram(budget);
    server.otherwise(answers("hello"));
    for (const text of ["1", "2", "/clear"]) await program.say("c", text);
    assert.equal((await program.say("c", "3")).code, "budget");
    assert.match(await program.whole("c", "/help"), /Commands:/);
    assert.match(await program.whole("c", "/status"), /Used today: 28 tokens of 20/);
    for (const text of ["/btw and now?", "!btw and now?", "/nosuchcommand please"]) {
      assert.equal((await program.say("c", text)).code, "budget", text);
    }
    assert.equal(server.requests.length, 2);
  });

  it("gets no more by stopping the answer before its end, or before its beginning", async () => {
    for (const begun of [streams({ text: "word ".repeat(200), milliseconds: 60_000 }), hangs()]) {
      const from = server.requests.length;
      await using program = await openProgram({ limits: { tokens_per_day: 1000 } });
      server.otherwise(begun);
      let last: string | undefined;
      for (let times = 0; times < 10 && last !== "budget"; times += 1) {
        const asked = program.begin(`c${from}`, `${times} ${"x".repeat(1000)}`);
        const before = server.requests.length;
        await until("it runs or is refused", () => {
          return server.requests.length > before || asked.parts.length > 0;
        });
        await program.say(`c${from}`, "/stop");
        last = (await asked.done).error?.code;
      }
      assert.equal(last, "budget");
      const asks = server.requests.length - from;
      assert.ok(asks >= 1 && asks <= 3, `${asks} questions`);
    }
  });

  it("has counted what a stopped answer thought, too, which nobody heard", async () => {
    await using program = await openProgram();
    const delta = { reasoning_content: "hm" };
    const thought = event({ choices: [{ index: 0, delta, finish_reason: null }] });
    const stopped = async (client: string, behaviour: Behaviour): Promise<number> => {
      const from = server.requests.length;
      server.script(behaviour);
      const asked = program.begin(client, "think");
      await server.received(from);
      await until("it thinks", () => behaviour === hung || asked.parts.length > 0);
      await program.say(client, "/stop");
      await asked.done;
      return (await program.used(client)).tokens;
    };
    const hung = hangs();
    const asking = await stopped("hung", hung);
    const thinking = await stopped("thinking", hangs(thought.repeat(300) + textEvent("So: ")));
    const apart = thinking - asking;
    assert.ok(apart >= 300 && apart < 310, `${thinking} against ${asking}`);
  });

  it("gets no more by subagents: their questions count, and end with the budget", async () => {
    await using program = await openProgram({ limits: { tokens_per_day: 30 } });
    server.otherwise(async (request, response) => {
      const isTask = request.body.messages.some(({ content }) => content === "dig");
      const call = { name: "subagent", arguments: '{"task":"dig"}' };
      await (isTask ? calls(measure(1)) : calls(call))(request, response);
    });
    assert.equal((await program.say("c", "go")).code, "budget");
    assert.equal(server.requests.length, 3);
    assert.equal((await program.used()).tokens, 42);
  });

  it("gets no more by tasks in the background, which end when it is used up", async () => {
    await using program = await openProgram({ limits: { tokens_per_day: 20_000 } });
    const usage = { prompt_tokens: 4000, completion_tokens: 0 };
    const calling = (call: ScriptedCall): Behaviour =>
      streams({ toolCalls: [call], finish: "tool_calls", usage });
    server.otherwise(async (request, response) => {
      const { messages } = request.body;
      const isTask = messages.some(({ content }) => content === "dig");
      const wasCalled = messages.at(-1)?.role === "tool";
      const answer = wasCalled ? streams({ text: "begun", usage }) : calling(spawn("dig"));
      await (isTask ? calling(measure(1)) : answer)(request, response);
    });
    assert.equal((await program.say("c", "go")).code, undefined);
    await until("the task has ended", async () => {
      return /No active tasks/.test(await program.whole("c", "/subagents"));
    });
    assert.equal((await program.used()).tokens, 20_000);
    assert.equal(server.requests.length, 5);
    assert.equal((await program.say("c", "again")).code, "budget");
    assert.equal(server.requests.length, 5);
  });

  it("pays for the summaries of its conversation, which are not made beyond the budget", async () => {
    const defaults = { summarize_message_threshold: 4, summarize_token_percent: 0 };
    {
      await using program = await openProgram({ defaults });
      server.otherwise(answers("said"));
      for (let turn = 0; turn < 3; turn += 1) await program.say("c", `${turn}`);
      await until("it is summarized", async () => (await program.used()).tokens === 4 * 14);
      // The summary may be asked for before the last turn.
      assert.ok(server.requests.some(({ body }) => body.tools === undefined));
    }
    const from = server.requests.length;
    await using program = await openProgram({ defaults, limits: { tokens_per_day: 4 * 14 + 29 } });
    for (const text of ["3", "4", "5", "6"]) await program.say("c", text);
    const lane = laneOf({ channel: "mqtt", client: "c" });
    assert.ok((await program.store.history(lane)).length > 4);
    assert.ok(server.requests.length - from <= 4);
    assert.equal((await program.say("c", "7")).code, "budget");
  });

  it("is stopped by the channel's and the gateway's budget under any name", async () => {
    for (const whole of ["total", "gateway"] as const) {
      const from = server.requests.length;
      await using program = await openProgram({ [whole]: { tokens_per_day: 28 } });
      server.otherwise(answers("hello"));
      const codes: (string | undefined)[] = [];
      for (const client of ["a", "A", "b"]) codes.push((await program.say(client, "?")).code);
      // What the round before this one used is of the same day.
      const asked = server.requests.length - from;
      assert.ok(asked <= 2, `${whole}: ${asked}`);
      assert.equal(codes.at(-1), "budget");
    }
  });

  it("in money, is stopped as soon as it is spent", async () => {
    const priced = modelEntry({ api_base: server.base, prices: { input: 1000, output: 0 } });
    await using program = await openProgram({ entries: [priced], limits: { cost_per_day: 0.02 } });
    server.otherwise(answers("hello"));
    const codes: (string | undefined)[] = [];
    for (let turn = 0; turn < 4; turn += 1) codes.push((await program.say("c", "?")).code);
    assert.deepEqual(codes, [undefined, undefined, "budget", "budget"]);
    assert.match(await program.whole("c", "/status"), /cost 0\.022 of 0\.02/);
  });
});

describe("a turn that calls tools without end", () => {
  it("is told that it may call no more, and can still answer", async () => {
    await using program = await openProgram({ limits: { tool_calls_per_turn: 3 } });
    server.script(
      calls(measure(1), measure(2)),
      calls(measure(3), measure(4)),
      answers("That is all."),
    );
    assert.match(await program.whole("c", "measure"), /That is all\.$/);
    const results = server.requests[2]?.body.messages.filter(({ role }) => role === "tool") ?? [];
    const refused = results.map(({ content }) => /may call no more tools/.test(content ?? ""));
    assert.deepEqual(refused, [false, false, false, true]);
    server.script(calls(measure(1)), answers("Again."));
    assert.match(await program.whole("c", "measure again"), /Again\.$/);
    const again = server.requests[4]?.body.messages.at(-1)?.content ?? "";
    assert.doesNotMatch(again, /may call no more tools/);
  });

  it("has the calls of its subagents counted with its own", async () => {
    await using program = await openProgram({ limits: { tool_calls_per_turn: 2 } });
    server.script(
      calls({ name: "subagent", arguments: '{"task":"dig"}' }),
      calls(measure(1), measure(2)),
      answers("dug"),
      calls(measure(3)),
      answers("Done."),
    );
    assert.match(await program.whole("c", "go"), /Done\.$/);
    const inTask = server.requests[2]?.body.messages.filter(({ role }) => role === "tool") ?? [];
    assert.match(inTask[1]?.content ?? "", /may call no more tools/);
    assert.match(server.requests[4]?.body.messages.at(-1)?.content ?? "", /may call no more tools/);
  });

  it("is forgiven none of them by a crash", async () => {
    const config = agentConfig([modelEntry({ api_base: server.base })], {
      workspace: join(folder.path, "workspace"),
    });
    const agent = await openAgent({ config, log: createMemoryLog() });
    let [left, counted] = [2, 0];
    const allowance = {
      begin: () => () => {},
      takeCall: () => {
        counted += 1;
        left -= 1;
        return left >= 0;
      },
      status: () => assert.fail("nobody asks"),
    };
    const call = { id: "m1", name: "device", arguments: '{"facts":["uptime"]}' };
    const resumed: Message[] = [
      { role: "assistant", text: "", toolCalls: [call] },
      { role: "tool", callId: "m1", name: "device", text: "up" },
    ];
    server.script(calls(measure(2), measure(3)), answers("Done."));
    const { signal } = new AbortController();
    const turn = { history: async () => [], text: "?", client: "c", signal, resumed, allowance };
    await collect(agent.answer(turn));
    assert.equal(counted, 3);
    const results = server.requests[1]?.body.messages.filter(({ role }) => role === "tool") ?? [];
    const refused = results.map(({ content }) => /may call no more tools/.test(content ?? ""));
    assert.deepEqual(refused, [false, false, true]);
    await agent.close();
  });

  it("ends with its rounds at the latest", async () => {
    await using program = await openProgram({
      limits: { tool_calls_per_turn: 1 },
      defaults: { max_tool_iterations: 4 },
    });
    server.otherwise(calls(measure(1)));
    assert.equal((await program.say("c", "go")).code, "model");
    assert.equal(server.requests.length, 4);
  });
});

describe("/status", () => {
  it("shows who asks its own limits and what it used, and nobody else's", async () => {
    await using program = await openProgram({
      limits: {
        requests_per_minute: 120,
        burst: 60,
        tokens_per_day: 5000,
        tool_calls_per_turn: 50,
      },
    });
    server.otherwise(answers("hello"));
    await program.say("other", "?");
    await program.say("c", "?");
    const shown = await program.whole("c", "/status");
    assert.match(shown, /Used today: 14 tokens of 5000 \(the next day begins in .+\)/);
    assert.match(shown, /Your limits: 120 requests a minute, 60 at once; 50 tool calls an answer/);
  });
});
