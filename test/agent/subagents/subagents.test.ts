import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { ownerOf } from "../../../src/agent/access/permissions.ts";
import { createSubagents } from "../../../src/agent/subagents/subagents.ts";
import type {
  SubagentOptions,
  Subagents,
  SubagentTask,
} from "../../../src/agent/subagents/subagents.ts";
import type { CallContext } from "../../../src/agent/tools/contract.ts";
import { SILENT } from "../../../src/base/log.ts";
import { callContext } from "../../support/agent-config.ts";
import { until } from "../../support/until.ts";

/** Tasks that wait until the test lets them go: `running` has them by their text. */
function createSetup(options: Partial<SubagentOptions> = {}) {
  const running = new Map<string, (answer: string) => void>();
  const seen: SubagentTask[] = [];
  let time = 0;
  const subagents = createSubagents({
    log: SILENT,
    now: () => new Date(time),
    run(task) {
      seen.push(task);
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      running.set(task.text, resolve);
      if (task.text === "fail") reject(new Error("no such fuel"));
      return promise;
    },
    ...options,
  });
  return {
    subagents,
    running,
    seen,
    later: (milliseconds: number) => void (time += milliseconds),
    async finish(text: string, answer = `done: ${text}`): Promise<void> {
      await until("the task runs", () => running.has(text));
      running.get(text)?.(answer);
    },
  };
}

async function call(
  subagents: Subagents,
  name: string,
  input: object,
  facts: Partial<CallContext> & { readonly depth?: number } = {},
): Promise<string> {
  const { depth = 0, ...rest } = facts;
  const tool = subagents.tools(depth).find((one) => one.name === name);
  assert.ok(tool !== undefined, `no tool ${name}`);
  const who = { ...callContext(), ...rest };
  return await tool.run(input, { ...who, owner: ownerOf(who) });
}

describe("a subagent", () => {
  it("answers with a turn of its own, one deeper, for the same client", async () => {
    const setup = createSetup();
    const answer = call(
      setup.subagents,
      "subagent",
      { task: "look" },
      { client: "c", channel: "mqtt", isRemote: true, depth: 1 },
    );
    await setup.finish("look", "all dry");
    assert.equal(await answer, "all dry");
    const [task] = setup.seen;
    assert.deepEqual(
      [task?.text, task?.caller, task?.depth],
      ["look", { client: "c", channel: "mqtt", isRemote: true }, 2],
    );
    assert.equal(task?.signal.aborted, true, "what it left behind is told to end");
    assert.deepEqual(setup.subagents.list("4:mqttc"), []);
  });

  it("is not offered deeper than three", () => {
    const { subagents } = createSetup();
    const names = (depth: number) => subagents.tools(depth).map(({ name }) => name);
    assert.deepEqual(names(2), ["subagent", "spawn", "spawn_status"]);
    assert.deepEqual(names(3), []);
    assert.deepEqual(names(4), []);
    const [tool] = subagents.tools(0);
    assert.ok((tool?.milliseconds ?? 0) > 330_000);
  });

  it("ends with its call and keeps nothing of it", async () => {
    const setup = createSetup();
    const controller = new AbortController();
    const answer = call(setup.subagents, "subagent", { task: "x" }, { signal: controller.signal });
    await until("the tasks run", () => setup.seen.length === 1);
    controller.abort(new Error("stopped"));
    await assert.rejects(answer, /stopped/);
    assert.equal(setup.seen[0]?.signal.aborted, true);
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  });

  it("that fails, takes too long or says nothing has an answer all the same", async () => {
    const setup = createSetup({ taskMilliseconds: 20 });
    const ask = (task: string) => call(setup.subagents, "subagent", { task });
    assert.equal(await ask("fail"), "error: the task failed: no such fuel");
    assert.match(await ask("slow"), /^error: the task was stopped: not done within 0\.02 s/);
    const empty = ask("empty");
    await setup.finish("empty", " ");
    assert.equal(await empty, "(the task ended without text)");
    assert.match(await ask(""), /^error: wrong arguments: task: the task is empty/);
    assert.match(await ask("x".repeat(20_001)), /^error: wrong arguments/);
  });

  it("has its result cut at 10,000 characters", async () => {
    const setup = createSetup();
    const answer = call(setup.subagents, "subagent", { task: "long" });
    await setup.finish("long", "é".repeat(20_000));
    assert.match(await answer, /^é{10000}\n… \(cut here: the result has 20000 characters\)$/);
  });

  it("waits while five run, and gives up when none ends", async () => {
    const setup = createSetup({ slotMilliseconds: 50 });
    const ask = (task: string, client = "one") =>
      call(setup.subagents, "subagent", { task }, { client });
    const five = ["1", "2", "3", "4"].map((task) => ask(task));
    five.push(ask("5", "two"));
    await until("the tasks run", () => setup.seen.length === 5);
    assert.match(
      await ask("6"),
      /^error: the task was stopped: no slot became free within 0\.05 s/,
    );
    const seventh = ask("7");
    await setup.finish("1");
    await setup.finish("7");
    assert.equal(await seventh, "done: 7");
    assert.equal(setup.seen.length, 6);
    for (const task of ["2", "3", "4", "5"]) await setup.finish(task);
    assert.equal((await Promise.all(five)).length, 5);
  });

  it("finds a place however many another client asks for", async () => {
    const setup = createSetup({ slotMilliseconds: 50 });
    const ask = (task: string, client: string) =>
      call(setup.subagents, "subagent", { task }, { client });
    const greedy = ["1", "2", "3", "4", "5", "6"].map((task) => ask(task, "greedy"));
    await until("its share runs", () => setup.seen.length === 4);
    const modest = ask("mine", "modest");
    await setup.finish("mine");
    assert.equal(await modest, "done: mine");
    const given = await Promise.all(greedy.slice(4));
    for (const text of given) assert.match(text, /no slot became free/);
    for (const task of ["1", "2", "3", "4"]) await setup.finish(task);
    await Promise.all(greedy);
    const again = ask("again", "greedy");
    await setup.finish("again");
    assert.equal(await again, "done: again");
  });
});

describe("a task in the background", () => {
  it("outlives its turn, and its result is told once", async () => {
    const setup = createSetup();
    const turn = new AbortController();
    const begun = await call(
      setup.subagents,
      "spawn",
      { task: "look\nround", label: "" },
      { signal: turn.signal },
    );
    assert.match(begun, /^Task task-1 \(look round\) has begun/);
    turn.abort(new Error("the turn is over"));
    setup.later(3_000);
    assert.deepEqual(setup.subagents.list("here:tester"), [
      { id: "task-1", label: "look round", state: "running", seconds: 3 },
    ]);
    assert.deepEqual(setup.subagents.takeUnreported("here:tester"), []);
    await setup.finish("look\nround", "all dry");
    await until(
      "the task has ended",
      () => setup.subagents.list("here:tester")[0]?.state === "done",
    );
    const shown = [{ id: "task-1", label: "look round", text: "all dry" }];
    assert.deepEqual(setup.subagents.takeUnreported("here:other"), []);
    assert.deepEqual(setup.subagents.takeUnreported("here:tester"), shown);
    assert.deepEqual(setup.subagents.takeUnreported("here:tester"), []);
    assert.equal(
      await call(setup.subagents, "spawn_status", { task_id: "task-1" }),
      "task-1 (look round): done, 3 s\nall dry",
    );
  });

  it("whose result was asked for is not told again", async () => {
    const setup = createSetup();
    const status = (input: object) => call(setup.subagents, "spawn_status", input);
    assert.equal(await status({}), "There are no tasks.");
    await call(setup.subagents, "spawn", { task: "fail", label: "try" });
    await until(
      "the task has ended",
      () => setup.subagents.list("here:tester")[0]?.state === "failed",
    );
    assert.equal(await status({}), "task-1 (try): failed, 0 s");
    assert.match(await status({ task_id: "task-1" }), /\nerror: the task failed: no such fuel$/);
    assert.deepEqual(setup.subagents.takeUnreported("here:tester"), []);
  });

  it("belongs to its client", async () => {
    const setup = createSetup();
    await call(setup.subagents, "spawn", { task: "a" }, { client: "one" });
    await setup.finish("a", "secret");
    await until("the task has ended", () => setup.subagents.list("here:one")[0]?.state === "done");
    assert.equal(
      await call(setup.subagents, "spawn_status", { task_id: "task-1" }, { client: "two" }),
      'error: there is no task "task-1". Tasks are: none.',
    );
  });

  it("is kept for an hour, and twenty of a client", async () => {
    const setup = createSetup({ run: async ({ text }) => text });
    for (let index = 1; index <= 25; index += 1) {
      await call(setup.subagents, "spawn", { task: `task ${index}` });
      await until(
        "the task has ended",
        () => setup.subagents.list("here:tester").at(-1)?.state === "done",
      );
    }
    const ids = setup.subagents.list("here:tester").map(({ id }) => id);
    assert.deepEqual([ids.length, ids[0], ids.at(-1)], [20, "task-6", "task-25"]);
    setup.later(3_600_000);
    assert.deepEqual(setup.subagents.list("here:tester"), []);
  });

  it("is refused where ten of the client are under way", async () => {
    const setup = createSetup();
    const spawn = (client: string) => call(setup.subagents, "spawn", { task: "x" }, { client });
    for (let index = 0; index < 10; index += 1) await spawn("one");
    assert.match(await spawn("one"), /^error: 10 tasks of this client are under way/);
    assert.match(await spawn("two"), /has begun/);
    setup.subagents.close();
  });

  it("is refused where fifty are under way, whatever names the clients invent", async () => {
    const setup = createSetup();
    const spawn = (client: string) => call(setup.subagents, "spawn", { task: "x" }, { client });
    for (let index = 0; index < 50; index += 1) {
      assert.match(await spawn(`invented ${index}`), /has begun/);
    }
    assert.match(await spawn("one more"), /^error: 50 tasks are under way/);
    setup.subagents.close();
  });

  it("ends with the program, and none begins afterwards", async () => {
    const setup = createSetup();
    await call(setup.subagents, "spawn", { task: "a" });
    const inFront = call(setup.subagents, "subagent", { task: "b" });
    await until("the tasks run", () => setup.seen.length === 2);
    setup.subagents.close();
    assert.equal(await inFront, "error: the task failed: the program is ending");
    await until(
      "the task has ended",
      () => setup.subagents.list("here:tester")[0]?.state === "failed",
    );
    assert.ok(setup.seen.every(({ signal }) => signal.aborted));
    assert.equal(
      await call(setup.subagents, "spawn", { task: "c" }),
      "error: the program is ending",
    );
    assert.match(await call(setup.subagents, "subagent", { task: "d" }), /^error: .*is ending$/);
  });
});
