import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import type { JobPayload } from "../../src/store/contract/jobs.ts";
import type { Store } from "../../src/store/contract/store.ts";
import { openInstance } from "../../src/store/home/instance-lock.ts";
import { openPostgresStore } from "../../src/store/postgres/store.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";
import { BOUNDS } from "../store/contract.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { addressOf } from "../store/postgres-home.ts";
import { openTestDevice, run, type TestDevice } from "../support/channel.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startPicoclaw,
  writeConfig,
  type Running,
} from "../support/picoclaw.ts";
import { needsPostgres, sharedPostgres } from "../support/postgres.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { withFaults } from "./fault-harness.ts";

const AGENT = "/picoclaw/assistant";
const DUE = Date.UTC(2026, 0, 1);
const LATE_MS = 120_000;

const CONFIG = {
  tools: {
    profiles: {
      panel: {
        tools: ["mqtt"],
        topics: { read: ["home/#"], publish: ["home/#"] },
        confirm: { by: ["phone"], minutes: 5 },
      },
      kitchen: { tools: ["exec"] },
      "*": { tools: [] },
    },
    exec: { allow_remote: true, sandbox: "none", pin: "here" },
    mqtt: {
      watch: [{ topic: "door", when: "== 'open'", prompt: "?", client: "hall", cooldown: "1h" }],
    },
  },
};

/** So many gateways; several share a database, and a workspace as all on one machine do. */
async function openGateways(count: number) {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const { path } = stack.use(await temporaryFolder());
  const workspace = join(path, "workspace");
  await mkdir(workspace);
  const postgres = count > 1 ? await sharedPostgres() : undefined;
  const database = (await postgres?.createDatabase()) ?? "";
  const entry = { model_name: "m", model: "openai/m", api_base: model.base, api_keys: ["k"] };
  const config = quickConfig(
    broker.url,
    { qos: 1 },
    {
      agents: { defaults: { model_name: "m", workspace, summarize_message_threshold: 0 } },
      model_list: [entry],
      gateway: { port: 0, name: "here", ...(postgres && { store: postgres.url(database) }) },
      ...CONFIG,
    },
  );
  const homes = Array.from({ length: count }, (_, index) => join(path, `home${index}`));
  for (const home of homes) await writeConfig(home, config);
  const running: Running[] = [];
  const killed: number[] = [];
  stack.defer(async () => {
    for (const gateway of running) await gateway[Symbol.asyncDispose]();
  });
  const start = (index: number, failAt: string): void => {
    const env: Record<string, string> = failAt === "" ? {} : { PICOCLAW_FAIL_AT: failAt };
    const gateway = startPicoclaw(["gateway", "--drain", "0s"], { home: homes[index] ?? "", env });
    running.push(gateway);
    void gateway.ended.then(({ signal }) => {
      if (signal !== "SIGKILL" || failAt === "") return;
      killed.push(index);
      start(index, "");
    });
  };
  const owned = stack.move();
  return {
    broker,
    model,
    workspace,
    /** Those that died; each was started again at once, and does not die again. */
    killed,
    /** All die at that point. Resolves when they watch. */
    async start(failAt: string) {
      for (const index of homes.keys()) start(index, failAt);
      const first = running.slice(0, count);
      await Promise.all(first.map((gateway) => gateway.said("topics are watched")));
    },
    /** Before the start. */
    async addJobs(payloads: readonly JobPayload[]) {
      const facts = { owner: "test", now: () => Date.now(), bounds: BOUNDS, log: SILENT };
      const home = await openInstance(join(workspace, "state"), { log: SILENT });
      const opened: Store<string> = postgres
        ? await openPostgresStore(addressOf(postgres, database), facts)
        : await openSqliteStore(home.databaseFile, facts);
      const store = await opened.jobs();
      const schedule = { kind: "every", ms: 86_400_000 } as const;
      for (const [index, payload] of payloads.entries()) {
        await store.addJob(newJob(`j${index}`, { schedule, payload, nextAt: DUE }), MANY);
      }
      await opened.close();
      home.close();
    },
    /** Whether one was killed, and no firing is open. */
    async haveEnded(): Promise<boolean> {
      if (killed.length === 0) return false;
      const { stdout } = await picoclaw(["jobs", "list", "--json"], { home: homes[0] ?? "" });
      const jobs = stdout.split("\n").filter((line) => line !== "");
      return jobs.length > 0 && jobs.every((line) => JSON.parse(line).last_at !== undefined);
    },
    listen: async (client: string) =>
      owned.use(await openTestDevice(broker.url, `${AGENT}/${client}/response`)),
    hear: async (topic: string) => owned.use(await openTestDevice(broker.url, topic)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Message {
  readonly id: string;
  readonly text: string;
}

/** Each once: what was published and not acknowledged comes again, as the same message. */
function pushesOf({ messages }: TestDevice): readonly Message[] {
  const all = messages.map(({ payload }) => JSON.parse(String(payload)));
  const pushes = all.filter(({ push }) => push === true);
  return [...new Map(pushes.map((push) => [push.id, push])).values()];
}

async function send({ client }: TestDevice, name: string, text: string): Promise<void> {
  const payload = JSON.stringify({ text, id: text });
  await client.publishAsync(`${AGENT}/${name}/request`, payload, { qos: 1 });
}

for (const count of [1, 3]) {
  const which = count === 1 ? "a gateway" : "three gateways of one database";
  const needs = {
    skip: withFaults.skip || (count > 1 && needsPostgres.skip),
    timeout: 4 * LATE_MS,
  };

  describe(`${which}, each killed once`, () => {
    for (const point of ["job_claimed", "job_pushed", "job_ran"]) {
      it(`at ${point}: each job is done once`, needs, async () => {
        await using gateways = await openGateways(count);
        const { killed, model, workspace } = gateways;
        model.otherwise(answers("Done."));
        const command = `echo once >> ran`;
        await gateways.addJobs([
          { kind: "message", text: "a task" },
          { kind: "text", text: "a text" },
          { kind: "command", text: command },
        ]);
        const kitchen = await gateways.listen("kitchen");
        void gateways.start(point).catch(() => {});
        const ran = () => readFile(join(workspace, "ran"), "utf8").catch(() => "");
        const ids = () => new Set(pushesOf(kitchen).map(({ id }) => id));
        await until("some are killed, and all is done", () => gateways.haveEnded(), LATE_MS);
        assert.ok(killed.length > 0);
        assert.ok(["once\n", ""].includes(await ran()), await ran());
        // Of a command that was cut off the client hears so; one that ends in silence says nothing.
        const wanted = [0, 1, ...((await ran()) === "" ? [2] : [])];
        const isHeard = (index: number): boolean => ids().has(`job-j${index}-${DUE}`);
        await until("all is heard", () => wanted.every(isHeard), LATE_MS);
        assert.equal(ids().size, [0, 1, 2].filter(isHeard).length);
      });
    }

    it("at call_confirmed: the call is made once", needs, async () => {
      await using gateways = await openGateways(count);
      const { door, panel } = await confirm(gateways, "call_confirmed");
      await until("the outcome", () => pushesOf(panel).length > 0, LATE_MS);
      assert.equal(gateways.killed.length, 1);
      assert.deepEqual(door.texts(), ["open"]);
      assert.deepEqual(
        pushesOf(panel).map(({ text }) => text),
        ["As it is."],
      );
    });

    it(
      "at call_begun: the call is not made, and the client hears that nobody knows",
      needs,
      async () => {
        await using gateways = await openGateways(count);
        const { door, panel } = await confirm(gateways, "call_begun");
        await until("the outcome", () => pushesOf(panel).length > 0, LATE_MS);
        assert.equal(gateways.killed.length, 1);
        assert.deepEqual(door.texts(), []);
        const { messages = [] } = gateways.model.requests.at(-1)?.body ?? {};
        const result = messages.findLast(({ role }) => role === "tool")?.content;
        assert.match(String(result), /Whether it took effect is not known/);
      },
    );
  });
}

describe("three gateways of one database that watch, each killed once", () => {
  const needs = { skip: withFaults.skip || needsPostgres.skip, timeout: 4 * LATE_MS };

  it("at watch_stored: the match begins one turn", needs, async () => {
    await using gateways = await openGateways(3);
    gateways.model.otherwise(answers("It is open."));
    const hall = await gateways.listen("hall");
    await gateways.start("watch_stored");
    await run("mosquitto_pub", "-p", `${gateways.broker.port}`, "-t", "door", "-m", "open");
    await until("the turn", () => pushesOf(hall).length > 0, LATE_MS);
    assert.ok(gateways.killed.length > 0);
    assert.deepEqual(
      pushesOf(hall).map(({ text }) => text),
      ["It is open."],
    );
  });
});

/** A panel asks for what a phone confirms. */
async function confirm(gateways: Awaited<ReturnType<typeof openGateways>>, failAt: string) {
  const { model } = gateways;
  const [panel, phone] = [await gateways.listen("panel"), await gateways.listen("phone")];
  const door = await gateways.hear("home/door");
  await gateways.start(failAt);
  const open = { action: "publish", topic: "home/door", payload: "open" };
  model.script(calls({ name: "mqtt", arguments: JSON.stringify(open) }), answers("I have asked."));
  await send(panel, "panel", "open");
  await until("the question", () => pushesOf(phone).length > 0, LATE_MS);
  await until("the answer", () => panel.texts().some((text) => text.includes("have asked")));
  model.otherwise(answers("As it is."));
  const id = /\/confirm (\S+)/.exec(pushesOf(phone)[0]?.text ?? "")?.[1] ?? "";
  await send(phone, "phone", `/confirm ${id}`);
  return { door, panel };
}
