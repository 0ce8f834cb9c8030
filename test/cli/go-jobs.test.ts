import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { readTasks, takeOverGoJobs } from "../../src/cli/runtime/go-jobs.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { storeFacts } from "../gateway/setup.ts";
import { agentDefaults } from "../support/agent-config.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";

async function setUp(files: Readonly<Record<string, string | object>>) {
  const folder = await temporaryFolder();
  const write = async (name: string, content: string | object): Promise<void> => {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    const text = typeof content === "string" ? content : JSON.stringify(content);
    await writeFile(join(folder.path, name), text);
  };
  await mkdir(join(folder.path, "state"));
  for (const [name, content] of Object.entries(files)) await write(name, content);
  const opened = createMemoryStore<string>(storeFacts(SYSTEM_CLOCK, "test"));
  const store = await opened.jobs();
  const log = createMemoryLog();
  const agents = { defaults: agentDefaults({ workspace: folder.path }) };
  return {
    folder: folder.path,
    store,
    lines: log.lines,
    write,
    /** An empty name stands for several channels. */
    takeOver: (heartbeat = { enabled: true, interval: 30 }, name = "home") =>
      takeOverGoJobs({ config: { agents, heartbeat }, channel: name || undefined, store, log }),
    async [Symbol.asyncDispose]() {
      await opened.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const job = (id: string, schedule: object, payload: object = {}, facts: object = {}) => ({
  id,
  name: `name of ${id}`,
  enabled: true,
  schedule,
  payload: { kind: "agent_turn", message: "hi", channel: "mqtt", to: "mqtt:kitchen", ...payload },
  state: {},
  createdAtMs: 1,
  updatedAtMs: 1,
  deleteAfterRun: false,
  ...facts,
});

const CRON = { kind: "cron", expr: "0 9 * * *", tz: "Europe/Berlin" };
const STATE = { last_channel: "mqtt:mqtt:kitchen", timestamp: "2026-01-01T00:00:00Z" };

describe("a home of the Go program", () => {
  it("hands over the jobs of its MQTT clients, once", async () => {
    const soon = Date.now() + 3_600_000;
    const jobs = [
      job("0123456789abcdef", CRON),
      job(
        "every",
        { kind: "every", everyMs: 1000 },
        { deliver: true },
        { state: { nextRunAtMs: 5 } },
      ),
      job("once", { kind: "at", atMs: soon }, { to: "mqtt:a:b" }),
      job("off", { kind: "every", everyMs: 120_000 }, {}, { enabled: false }),
      job("shell", { kind: "every", everyMs: 120_000 }, { command: "df -h" }),
      job("past", { kind: "at", atMs: 1000 }),
      job("never", { kind: "every", everyMs: 9e15 }),
      job("telegram", CRON, { channel: "telegram", to: "7" }),
      job("cli", CRON, { channel: "cli", to: "direct" }),
      job("wrong", { kind: "cron", expr: "every day" }),
      job("../../x", CRON),
      "nonsense",
    ];
    await using home = await setUp({ "cron/jobs.json": { version: 1, jobs } });
    await home.takeOver();
    const found = await home.store.jobs();
    assert.deepEqual(
      found.map(({ id, channel, client, schedule, payload }) => [
        id,
        channel,
        client,
        schedule.kind,
        payload,
      ]),
      [
        ["0123456789abcdef", "home", "kitchen", "cron", { kind: "message", text: "hi" }],
        ["every", "home", "kitchen", "every", { kind: "text", text: "hi" }],
        ["once", "home", "a:b", "at", { kind: "message", text: "hi" }],
        ["off", "home", "kitchen", "every", { kind: "message", text: "hi" }],
        ["shell", "home", "kitchen", "every", { kind: "command", text: "df -h" }],
      ],
    );
    const [daily, every, once, off, shell] = found;
    assert.ok(daily?.nextAt !== undefined && daily.nextAt > Date.now());
    assert.deepEqual(every?.schedule, { kind: "every", ms: 60_000 });
    // It was missed, and is done at once.
    assert.equal(every?.nextAt, 5);
    assert.deepEqual([once?.nextAt, off?.nextAt, shell?.nextAt], [soon, undefined, undefined]);
    assert.deepEqual(
      home.lines.map(({ level, fields }) => [level, fields["jobs"], fields["skipped"]]),
      [["info", 5, 7]],
    );
    await home.store.removeJob("every");
    await home.takeOver();
    assert.equal((await home.store.jobs()).length, 4);
  });

  it("says why its jobs are not taken over, and tries again", async () => {
    await using home = await setUp({ "cron/jobs.json": { version: 1, jobs: [job("a", CRON)] } });
    await home.takeOver(undefined, "");
    assert.deepEqual(
      home.lines.map(({ level, message }) => [level, /did not record their channel/.test(message)]),
      [["warn", true]],
    );
    await home.takeOver();
    assert.equal((await home.store.jobs()).length, 1);
    await using broken = await setUp({ "cron/jobs.json": "{nonsense", "state/state.json": STATE });
    await assert.rejects(broken.takeOver());
    assert.deepEqual(
      (await broken.store.jobs()).map(({ id }) => id),
      ["heartbeat"],
    );
    await broken.write("cron/jobs.json", { version: 1, jobs: [job("a", CRON)] });
    await broken.takeOver();
    assert.equal((await broken.store.jobs()).length, 2);
  });

  it("has its heartbeat done for the client that it heard last", async () => {
    await using home = await setUp({ "state/state.json": STATE });
    await home.takeOver();
    const [heartbeat] = await home.store.jobs();
    assert.deepEqual(
      [
        heartbeat?.id,
        heartbeat?.channel,
        heartbeat?.client,
        heartbeat?.schedule,
        heartbeat?.payload,
      ],
      [
        "heartbeat",
        "home",
        "kitchen",
        { kind: "every", ms: 1_800_000 },
        { kind: "file", text: "HEARTBEAT.md" },
      ],
    );
    await home.takeOver({ enabled: true, interval: 1 });
    const [changed] = await home.store.jobs();
    assert.deepEqual(changed?.schedule, { kind: "every", ms: 300_000 });
    assert.equal(changed?.nextAt, heartbeat?.nextAt);
    // What its client disabled stays so.
    assert.ok(changed);
    const { nextAt: _, ...disabled } = changed;
    await home.store.changeJob(disabled);
    await home.takeOver({ enabled: true, interval: 0 });
    assert.equal((await home.store.job("heartbeat"))?.nextAt, undefined);
    await home.takeOver({ enabled: false, interval: 30 });
    assert.deepEqual(await home.store.jobs(), []);
  });

  it("has no heartbeat if it heard nobody over MQTT, and warns of tasks that nobody does", async () => {
    for (const state of [
      "{nonsense",
      {},
      { last_channel: "telegram:7" },
      { last_channel: "mqtt:" },
    ]) {
      await using home = await setUp({ "state/state.json": state, "HEARTBEAT.md": "- look" });
      await home.takeOver();
      assert.deepEqual(await home.store.jobs(), []);
      assert.deepEqual(
        home.lines.map(({ level }) => level),
        ["warn"],
      );
    }
  });

  it("has tasks in HEARTBEAT.md below the line of the template", async () => {
    await using home = await setUp({});
    const read = () => readTasks(home.folder, "HEARTBEAT.md");
    assert.equal(await read(), undefined);
    const template =
      "# Heartbeat\n\n- Check for unread messages\n\n---\n\nAdd your heartbeat tasks below this line:\n";
    for (const text of ["", "# Title\n<!-- - nothing -->\n", template]) {
      await home.write("HEARTBEAT.md", text);
      assert.equal(await read(), undefined, text);
    }
    await home.write("HEARTBEAT.md", `${template}\n- Look at the pump\n`);
    const prompt = (await read()) ?? "";
    assert.match(prompt, /HEARTBEAT\.md[\s\S]*NOTHING\.\n\n- Look at the pump$/);
    assert.doesNotMatch(prompt, /unread/);
    await home.write("HEARTBEAT.md", "- All of it");
    assert.match((await read()) ?? "", /- All of it$/);
  });
});
