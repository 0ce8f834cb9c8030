import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { JobPayload } from "../../src/store/contract/jobs.ts";
import { openJobs } from "../../src/store/sqlite/shared-access.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { openHomeStore } from "../store/sqlite-home.ts";
import { startModelServer, streamsSlowly } from "../support/model-server.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { modelConfig, startClient, startPicoclaw, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { withFaults } from "./fault-harness.ts";

const IDS = ["aaaaaaaa", "bbbbbbbb", "cccccccc"];
const DUE = Date.UTC(2026, 0, 1);

const PAYLOADS = IDS.map((id, index): JobPayload => {
  return { kind: index === 1 ? "text" : "message", text: `task ${id}` };
});

/** A home with jobs that were due long ago. */
async function openHome(payloads: readonly JobPayload[] = PAYLOADS, config: object = {}) {
  await using closing = new AsyncDisposableStack();
  const model = closing.use(await startModelServer());
  const broker = closing.use(await startMosquitto());
  const folder = closing.use(await temporaryFolder());
  model.otherwise(streamsSlowly(3, 30));
  const workspace = join(folder.path, "workspace");
  await writeConfig(folder.path, { ...modelConfig(broker.url, model.base), ...config });
  const heard = closing.use(
    startClient(
      "mosquitto_sub",
      `-p ${broker.port} -i kitchen -q 1 -V 5 -t /picoclaw/assistant/kitchen/response`.split(" "),
    ),
  );
  await until("it is subscribed", () => /kitchen\/response \(QoS 1\)/.test(broker.log()));
  const { file, ...home } = await openHomeStore(join(workspace, "state"));
  const store = await home.store.jobs();
  const schedule = { kind: "every", ms: 86_400_000 } as const;
  for (const [index, payload] of payloads.entries()) {
    const job = newJob(IDS[index] ?? "", { schedule, payload, nextAt: DUE + index });
    await store.addJob(job, MANY);
  }
  await home[Symbol.asyncDispose]();
  const owned = closing.move();
  return {
    model,
    workspace,
    /** As `picoclaw jobs list` reads them, while a gateway runs. */
    async jobs() {
      const shared = await openJobs(file, { owner: "test", readOnly: true });
      const jobs = await shared.jobs();
      await shared.close();
      return jobs;
    },
    start: (failAt = "") =>
      startPicoclaw(["gateway", "--drain", "0s"], {
        home: folder.path,
        env: failAt === "" ? {} : { PICOCLAW_FAIL_AT: failAt },
      }),
    heard: () =>
      heard
        .stdout()
        .split("\n")
        .filter((line) => line !== "")
        .map((line): { id: string; text: string; push?: boolean } => JSON.parse(line)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describe("a gateway that dies while jobs are due", () => {
  for (const point of [
    "job_claimed:1",
    "job_pushed:1",
    "job_pushed:2",
    "job_pushed:3",
    "accepted:2",
    "answered:1",
  ]) {
    it(`at ${point} sends each job once`, withFaults, async () => {
      await using home = await openHome();
      const first = home.start(point);
      assert.equal((await first.ended).signal, "SIGKILL");
      await using gateway = home.start();
      const wanted = IDS.map((id, index) => `job-${id}-${DUE + index}`);
      const ids = () => new Set(home.heard().map(({ id }) => id));
      await until("each is heard", () => wanted.every((id) => ids().has(id)));
      await until("each firing has ended", async () =>
        (await home.jobs()).every(({ lastAt }) => lastAt !== undefined),
      );
      gateway.kill("SIGTERM");
      assert.equal((await gateway.ended).code, 0);
      // A message that was published and not acknowledged comes again, as the same one.
      assert.deepEqual(
        [...ids()].toSorted((a, b) => (a < b ? -1 : 1)),
        wanted,
      );
      assert.ok(home.heard().every(({ push }) => push === true));
      for (const { nextAt = 0, lastAt, lastError } of await home.jobs()) {
        assert.ok(nextAt > Date.now());
        assert.deepEqual([lastAt !== undefined, lastError], [true, undefined]);
      }
      const turns = home.model.requests.map(({ body }) => body.messages.at(-1)?.content ?? "");
      for (const id of ["aaaaaaaa", "cccccccc"]) {
        const count = turns.filter((text) => text.includes(`task ${id}`)).length;
        assert.ok(count >= 1 && count <= 2, `${id} ran ${count} times`);
      }
    });
  }

  it(
    "after a command ran does not run it again, and says that its output is lost",
    withFaults,
    async () => {
      const payload = { kind: "command", text: "echo done >> ran.txt; cat ran.txt" } as const;
      const tools = { exec: { allow_remote: true, sandbox: "none" } };
      await using home = await openHome([payload], { tools });
      const first = home.start("job_ran");
      assert.equal((await first.ended).signal, "SIGKILL");
      await using _gateway = home.start();
      await until("it is heard", () => home.heard().length > 0);
      const [message] = home.heard();
      assert.equal(message?.id, `job-${IDS[0]}-${DUE}`);
      assert.match(message?.text ?? "", /ended while this command ran; its output is lost/);
      assert.equal(await readFile(join(home.workspace, "ran.txt"), "utf8"), "done\n");
    },
  );
});
