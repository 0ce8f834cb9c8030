import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openPostgresStore } from "../../src/store/postgres/store.ts";
import { BOUNDS } from "../store/contract.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { addressOf } from "../store/postgres-home.ts";
import { openTestDevice } from "../support/channel.ts";
import { echoes, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  NO_LIMITS,
  onceInCi,
  picoclaw,
  quickConfig,
  startGateway,
  writeConfig,
} from "../support/picoclaw.ts";
import { needsPostgres, startPostgres } from "../support/postgres.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || needsPostgres.skip || onceInCi.skip };

const CLIENTS = 10;
const JOBS = 60;
/** Of the jobs, those that run a command. */
const isCommand = (index: number): boolean => index % 6 === 0;

describe("jobs of three gateways with one database", () => {
  it("are each done once, also those of a gateway that is killed", needs, async () => {
    await using postgres = await startPostgres();
    await using broker = await startMosquitto();
    await using model = await startModelServer({ forgets: true });
    await using folder = await temporaryFolder();
    await using device = await openTestDevice(broker.url, "/picoclaw/assistant/+/response");
    model.otherwise(echoes());
    const workspace = join(folder.path, "workspace");
    await mkdir(workspace);
    const database = await postgres.createDatabase();
    const homes = [1, 2, 3].map((number) => join(folder.path, `home${number}`));
    for (const home of homes) {
      await writeConfig(
        home,
        quickConfig(
          broker.url,
          { qos: 1, limits: NO_LIMITS },
          {
            agents: { defaults: { model_name: "m", workspace, summarize_message_threshold: 0 } },
            model_list: [
              { model_name: "m", model: "openai/m", api_base: model.base, api_keys: ["k"] },
            ],
            gateway: { store: postgres.url(database), name: "here", port: 0 },
            tools: { exec: { pin: "here", allow_remote: true, sandbox: "none" } },
          },
        ),
      );
    }
    const due = Date.now() + 8000;
    const bounds = { ...BOUNDS, leaseMs: 15_000 };
    const options = { owner: "test", now: () => Date.now(), bounds };
    const opened = await openPostgresStore<string>(addressOf(postgres, database), options);
    const store = await opened.jobs();
    const schedule = { kind: "every", ms: 86_400_000 } as const;
    for (let index = 0; index < JOBS; index += 1) {
      const text = isCommand(index) ? `sleep 0.2; echo ${index} >> ran.txt` : `task ${index}`;
      const payload = { kind: isCommand(index) ? "command" : "message", text } as const;
      const client = `c${index % CLIENTS}`;
      await store.addJob(newJob(`j${index}`, { client, schedule, payload, nextAt: due }), MANY);
    }
    await opened.close();
    const gateways = await Promise.all(homes.map((home) => startGateway({ home })));
    await using closing = new AsyncDisposableStack();
    for (const gateway of gateways) closing.use(gateway);

    const messages = () => {
      const heard = device.messages.map(({ payload }): { id: string; push?: boolean } =>
        JSON.parse(String(payload)),
      );
      return heard.filter(({ push }) => push === true);
    };
    const ids = () => new Set(messages().map(({ id }) => id));
    await until("some are done", () => ids().size >= 5, 90_000);
    gateways[0]?.kill("SIGKILL");
    const wanted = Array.from({ length: JOBS }, (_, index) => `job-j${index}-${due}`);
    const tasks = wanted.filter((_, index) => !isCommand(index));
    await until("each task is heard", () => tasks.every((id) => ids().has(id)), 90_000);
    const ended = async (): Promise<boolean> => {
      const { stdout } = await picoclaw(["jobs", "list", "--json"], { home: homes[1] ?? "" });
      const jobs = stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      return jobs.length === JOBS && jobs.every(({ last_at }) => last_at !== undefined);
    };
    await until("all firings have ended", ended, 90_000);
    assert.deepEqual(
      [...ids()].filter((id) => !wanted.includes(id)),
      [],
    );
    const ran = (await readFile(join(workspace, "ran.txt"), "utf8")).trim().split("\n");
    assert.equal(new Set(ran).size, ran.length, `twice: ${ran.join(" ")}`);
    // What was cut off says so; a command in silence says nothing.
    const cutOff = ids().size - tasks.length;
    const commands = JOBS - tasks.length;
    assert.ok(ran.length <= commands && ran.length + cutOff >= commands, `${ran.length} ${cutOff}`);
  });
});
