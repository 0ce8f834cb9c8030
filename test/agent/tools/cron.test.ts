import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createPermissions } from "../../../src/agent/access/permissions.ts";
import { createCronTool } from "../../../src/agent/tools/cron.ts";
import { ClientJobs, JOB_LIMITS, MAX_JOB_TEXT } from "../../../src/gateway/jobs/client-jobs.ts";
import { localZone } from "../../../src/gateway/jobs/schedule.ts";
import { createMemoryStore } from "../../../src/store/sqlite/store.ts";
import { createManualClock } from "../../gateway/manual-clock.ts";
import { storeFacts } from "../../gateway/setup.ts";
import { callContext, toolProfile, toolSettings } from "../../support/agent-config.ts";

const HOUR = 3_600_000;

async function setUp({ allow_command = true } = {}) {
  const clock = createManualClock();
  const opened = createMemoryStore<string>(storeFacts(clock, "test"));
  const store = await opened.jobs();
  let changes = 0;
  const changed = (): void => void (changes += 1);
  const jobs = new ClientJobs({ store: async () => store, clock, changed });
  const tool = createCronTool(jobs, { allow_command });
  const profiles = [toolProfile({ pattern: "runner", tools: ["cron", "exec"] })];
  const tools = toolSettings({ profiles: [...profiles, toolProfile({ tools: ["cron"] })] });
  const permissionsOf = createPermissions({ tools, workspace: "/w" });
  return {
    clock,
    store,
    changes: () => changes,
    /** The answer to a call of a client, with ids as `ID`. */
    as: async (client: string, input: object, { channel = "mqtt", isConfirmed = false } = {}) => {
      const caller = { client, channel, isRemote: true, isConfirmed };
      const call = { ...callContext(), ...caller, permissions: permissionsOf(caller) };
      return tool.run(input, call);
    },
    actsOn: async (client: string, input: object) =>
      tool.actsOn?.(input, { ...callContext(), client, channel: "mqtt" }),
    effect: async (client: string, input: object) =>
      tool.effect?.(input, {
        ...callContext(),
        client,
        channel: "mqtt",
        permissions: permissionsOf({ client, channel: "mqtt", isRemote: true }),
      }),
    [Symbol.asyncDispose]: () => opened.close(),
  };
}

describe("the cron tool", () => {
  it("adds a reminder, a repeated task and one at times of the day", async () => {
    await using cron = await setUp();
    const { store, clock, as } = cron;
    const now = clock.epoch();
    const added = await as("kitchen", {
      action: "add",
      message: "Take  the\nbread out now, please do",
      at_seconds: 600,
    });
    assert.match(
      added,
      /^Added\. Take the bread out now, please \(job_id [0-9a-f]{8}\); once at 2027-01-15T08:10:00\.000Z; next 2027-01-15T08:10:00\.000Z; message: Take/,
    );
    await as("kitchen", {
      action: "add",
      name: "pump",
      message: "Look at the pump",
      every_seconds: 7200,
      at_seconds: 0,
    });
    await as("kitchen", {
      action: "add",
      message: "News",
      cron_expr: "0 9 * * 1-5",
      tz: "Europe/Berlin",
    });
    await as("kitchen", { action: "add", message: "Old", cron_expr: "0 9 * * *", job_id: "" });
    const jobs = await store.jobs();
    assert.deepEqual(
      jobs.map(({ name, schedule, nextAt = 0 }) => [name, schedule, (nextAt - now) / HOUR]),
      [
        ["Take the bread out now, please", { kind: "at", at: now + 600_000, setAt: now }, 1 / 6],
        ["pump", { kind: "every", ms: 2 * HOUR }, 2],
        // 15 January 2027 is a Friday, and it is nine there.
        ["News", { kind: "cron", expr: "0 9 * * 1-5", zone: "Europe/Berlin" }, 72],
        [
          "Old",
          { kind: "cron", expr: "0 9 * * *", zone: localZone() },
          ((jobs[3]?.nextAt ?? 0) - now) / HOUR,
        ],
      ],
    );
    assert.equal(cron.changes(), 4);
    const list = (await as("kitchen", { action: "list" })).split("\n");
    assert.equal(list.length, 4);
    assert.match(
      list[2] ?? "",
      /^News \(job_id \w+\); 0 9 \* \* 1-5 in Europe\/Berlin; next 2027-01-18T08:00/,
    );
  });

  it("shows, changes, disables, enables and removes a job", async () => {
    await using cron = await setUp();
    const { store, clock, as } = cron;
    assert.equal(await as("kitchen", { action: "list" }), "There are no jobs.");
    await as("kitchen", { action: "add", message: "x".repeat(500), every_seconds: 3600 });
    const job_id = (await store.jobs())[0]?.id ?? "";
    assert.ok((await as("kitchen", { action: "list" })).length < 300);
    assert.match(await as("kitchen", { action: "get", job_id }), /message: x{500}$/);
    const changed = await as("kitchen", {
      action: "update",
      job_id,
      message: "short",
      every_seconds: 60,
    });
    assert.match(changed, /^Updated\. .* every 60 s; .*message: short$/);
    assert.equal((await store.job(job_id))?.nextAt, clock.epoch() + 60_000);
    assert.match(await as("kitchen", { action: "disable", job_id }), /^Disabled\. .*; disabled;/);
    assert.match(await as("kitchen", { action: "update", job_id, name: "n" }), /n \(.*; disabled;/);
    assert.equal((await store.job(job_id))?.nextAt, undefined);
    await clock.advance(5000);
    assert.match(await as("kitchen", { action: "enable", job_id }), /^Enabled\. .*; next /);
    assert.equal((await store.job(job_id))?.nextAt, clock.epoch() + 60_000);
    assert.equal(await as("kitchen", { action: "remove", job_id }), "Removed.");
    assert.deepEqual(await store.jobs(), []);
  });

  it("neither shows nor changes the job of another client, whatever its id", async () => {
    await using cron = await setUp();
    const { store, as } = cron;
    await as("kitchen", { action: "add", message: "mine", every_seconds: 60 });
    const [job] = await store.jobs();
    assert.ok(job);
    const none = "error: there is no job with this id";
    for (const [client, channel] of [
      ["garden", "mqtt"],
      ["kitchen", "other"],
    ] as const) {
      assert.equal(await as(client, { action: "list" }, { channel }), "There are no jobs.");
      for (const action of ["get", "update", "remove", "enable", "disable"]) {
        const stranger: object = { action, job_id: job.id, message: "yours" };
        assert.equal(await as(client, stranger, { channel }), none, action);
      }
    }
    assert.deepEqual(await store.jobs(), [job]);
  });

  it("has bounds: of jobs of a client, of an interval, of a text", async () => {
    await using cron = await setUp();
    const { store, as } = cron;
    const add = (facts: object) => as("kitchen", { action: "add", message: "m", ...facts });
    assert.match(await add({ every_seconds: 59 }), /^error: a job fires at most once a minute/);
    assert.match(
      await add({ cron_expr: "* * * * * *" }),
      /^error: a job fires at most once a minute/,
    );
    assert.match(await add({ cron_expr: "at nine" }), /^error: "at nine" in .* is no schedule/);
    assert.match(
      await add({ cron_expr: "0 9 * * *", tz: "Berlin" }),
      /^error: "Berlin" is no time zone: name one such as Europe\/Berlin$/,
    );
    assert.match(await add({}), /^error: add needs one of at_seconds/);
    assert.match(await add({ at_seconds: 10 ** 9 }), /^error: wrong arguments: at_seconds/);
    assert.match(await add({ message: " ", at_seconds: 1 }), /^error: add needs a message/);
    const long = "x".repeat(MAX_JOB_TEXT + 1);
    assert.match(await add({ message: long, at_seconds: 1 }), /^error: .*at most 4000 characters/);
    assert.match(await add({ name: long, at_seconds: 1 }), /^error: .*at most 100 characters/);
    assert.match(await as("kitchen", { action: "remove" }), /^error: remove needs a job_id/);
    assert.deepEqual(await store.jobs(), []);
    for (let index = 0; index < JOB_LIMITS.ofClient; index += 1) await add({ at_seconds: 60 });
    assert.match(await add({ at_seconds: 60 }), /^error: there are too many jobs already/);
    assert.match(await as("garden", { action: "add", message: "m", at_seconds: 60 }), /^Added/);
    assert.equal((await store.jobs()).length, JOB_LIMITS.ofClient + 1);
  });

  it("takes a command only from a client that may run commands, and only confirmed", async () => {
    const command = { action: "add", command: "df -h", every_seconds: 3600, message: "disk" };
    await using cron = await setUp();
    const { store, as } = cron;
    const refused = "error: this client may not run commands by schedule";
    assert.equal(await as("kitchen", { ...command, command_confirm: true }), refused);
    assert.match(await as("runner", command), /^error: a command needs command_confirm/);
    assert.match(
      await as("runner", { ...command, command_confirm: true }),
      /^Added\. disk .*command: df -h$/,
    );
    const [job] = await store.jobs();
    assert.deepEqual(job?.payload, { kind: "command", text: "df -h" });
    await as("kitchen", { action: "add", message: "m", every_seconds: 3600 });
    const [own] = await store.jobs({ channel: "mqtt", client: "kitchen" });
    const update = { action: "update", job_id: own?.id, command: "id", command_confirm: true };
    assert.equal(await as("kitchen", update), refused);
    // A person may have to allow that: also that it is enabled, or runs at other times.
    const acts = (input: object) => cron.actsOn("runner", input);
    assert.deepEqual(await acts({ action: "add", command: "id" }), ["exec"]);
    for (const action of ["update", "enable"]) {
      assert.deepEqual(await acts({ action, job_id: job?.id, every_seconds: 60 }), ["exec"]);
      assert.deepEqual(await acts({ action, job_id: own?.id }), []);
    }
    for (const action of ["disable", "remove"]) {
      assert.deepEqual(await acts({ action, job_id: job?.id }), []);
    }
    for (const action of ["list", "get"]) {
      assert.equal(await acts({ action, job_id: job?.id }), undefined);
    }
    await using without = await setUp({ allow_command: false });
    assert.equal(await without.as("runner", { ...command, command_confirm: true }), refused);
  });

  it("remembers that a person has allowed a command, and tells the person which one it is", async () => {
    await using cron = await setUp();
    const { store, as, effect } = cron;
    const confirmed = { isConfirmed: true };
    const payload = async () => (await store.jobs())[0]?.payload;
    const add = { action: "add", command: "df", every_seconds: 3600, command_confirm: true };
    await as("runner", add);
    const job_id = (await store.jobs())[0]?.id;
    assert.deepEqual(await payload(), { kind: "command", text: "df" });
    assert.deepEqual(await effect("runner", { action: "enable", job_id }), {
      runs: { command: "df" },
    });
    await as("runner", { action: "enable", job_id }, confirmed);
    assert.deepEqual(await payload(), { kind: "command", text: "df", isConfirmed: true });
    await as("runner", { action: "update", job_id, name: "disk" });
    assert.deepEqual(await payload(), { kind: "command", text: "df", isConfirmed: true });
    const other = { action: "update", job_id, command: "id", command_confirm: true };
    await as("runner", other);
    assert.deepEqual(await payload(), { kind: "command", text: "id" });
    await as("runner", { action: "update", job_id, every_seconds: 60 }, confirmed);
    assert.deepEqual(await payload(), { kind: "command", text: "id", isConfirmed: true });
    // The arguments say it.
    assert.equal(await effect("runner", other), undefined);
    // Nobody is asked about what is refused after that.
    await assert.rejects(effect("runner", { ...other, command_confirm: false }), /command_confirm/);
    await assert.rejects(effect("kitchen", other), /may not run commands/);
    await as("kitchen", { action: "add", message: "m", every_seconds: 3600 }, confirmed);
    const own = (await store.jobs({ channel: "mqtt", client: "kitchen" }))[0];
    assert.deepEqual(own?.payload, { kind: "message", text: "m" });
    assert.equal(await effect("kitchen", { action: "update", job_id: own?.id }), undefined);
  });
});
