import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { runCommandLine } from "../../src/cli/cli.ts";
import type { NewJob } from "../../src/store/contract/jobs.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { openHomeStore } from "../store/sqlite-home.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { createFakeHost } from "./host.ts";

const LATER = Date.UTC(2100, 0, 1);

/** Runs commands in a home of these jobs, while a gateway has its database open. */
async function homeWith(jobs: readonly NewJob[]) {
  const folder = await temporaryFolder();
  const home = await openHomeStore(join(folder.path, "workspace", "state"));
  const store = await home.store.jobs();
  for (const job of jobs) await store.addJob(job, MANY);
  return {
    store,
    async run(...words: string[]) {
      const host = createFakeHost(["jobs", ...words], { env: { PICOCLAW_HOME: folder.path } });
      const code = await runCommandLine(host);
      return { code, stdout: host.stdout.text(), stderr: host.stderr.text() };
    },
    async [Symbol.asyncDispose]() {
      await home[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const DAILY = { kind: "cron", expr: "0 9 * * *", zone: "Europe/Berlin" } as const;

function homeWithJobs() {
  const { nextAt: _, ...disabled } = newJob("cccccccc", { name: "red \u001b[31m" });
  return homeWith([
    newJob("aaaaaaaa", { nextAt: LATER }),
    newJob("bbbbbbbb", { client: "garden", schedule: DAILY, nextAt: LATER }),
    disabled,
  ]);
}

describe("picoclaw jobs", () => {
  it("lists jobs, for people and for scripts", async () => {
    await using stored = await homeWithJobs();
    const { stdout, code } = await stored.run("list");
    assert.equal(code, 0);
    assert.deepEqual(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t")),
      [
        [
          "aaaaaaaa",
          "kitchen",
          "mqtt",
          "2100-01-01T00:00:00.000Z",
          "every 60 s",
          "name of aaaaaaaa",
        ],
        [
          "bbbbbbbb",
          "garden",
          "mqtt",
          "2100-01-01T00:00:00.000Z",
          "0 9 * * * in Europe/Berlin",
          "name of bbbbbbbb",
        ],
        ["cccccccc", "kitchen", "mqtt", "disabled", "every 60 s", String.raw`red \x1b[31m`],
      ],
    );
    const json = await stored.run("list", "--json", "--client", "garden");
    assert.deepEqual(JSON.parse(json.stdout), {
      v: 1,
      type: "job",
      id: "bbbbbbbb",
      channel: "mqtt",
      client: "garden",
      name: "name of bbbbbbbb",
      enabled: true,
      schedule: { cron_expr: "0 9 * * *", tz: "Europe/Berlin" },
      message: "text of bbbbbbbb",
      next_at: "2100-01-01T00:00:00.000Z",
    });
    assert.equal((await stored.run("list", "--channel", "other")).stdout, "");
  });

  it("removes a job, or makes it due", async () => {
    await using stored = await homeWithJobs();
    const before = Date.now();
    const due = await stored.run("run", "aaaaaaaa");
    assert.match(due.stdout, /aaaaaaaa of kitchen is due/);
    const removed = await stored.run("remove", "bbbbbbbb", "--json");
    assert.deepEqual(JSON.parse(removed.stdout), {
      v: 1,
      type: "removed",
      id: "bbbbbbbb",
      channel: "mqtt",
      client: "garden",
    });
    const [job, ...others] = await stored.store.jobs();
    assert.ok(job?.nextAt !== undefined && job.nextAt >= before && job.nextAt <= Date.now());
    assert.deepEqual(
      others.map(({ id }) => id),
      ["cccccccc"],
    );
  });

  it("says what is wrong", async () => {
    await using stored = await homeWithJobs();
    const wrong: (readonly [string[], number, RegExp])[] = [
      [["list", "x"], 2, /jobs list does not take "x"/],
      [["remove"], 2, /jobs remove needs <id>/],
      [["run", "aaaaaaab"], 1, /there is no job aaaaaaab[\s\S]*aaaaaaaa/],
      [["run", "aaaaaaaa", "--client", "garden"], 1, /there is no job/],
      [["run", "cccccccc"], 1, /is disabled/],
      [["enable", "x"], 2, /enable/],
    ];
    for (const [words, code, text] of wrong) {
      const result = await stored.run(...words);
      assert.equal(result.code, code, words.join(" "));
      assert.match(result.stderr, text);
    }
    await using empty = await homeWith([]);
    const { code, stdout } = await empty.run("list");
    assert.deepEqual([code, stdout], [0, ""]);
  });
});
