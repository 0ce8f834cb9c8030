import assert from "node:assert/strict";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import type { ModelServer } from "../support/model-server.ts";
import { answers, calls, dialogueOf, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  NO_LIMITS,
  oncePerRuntimeInCi,
  picoclaw,
  quickConfig,
  type Running,
  startGateway,
  writeConfig,
} from "../support/picoclaw.ts";
import { needsPostgres, startPostgres } from "../support/postgres.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsMosquitto.skip || needsPostgres.skip || oncePerRuntimeInCi.skip };

interface Place {
  readonly broker: string;
  readonly model: string;
  readonly store: string;
  readonly workspace: string;
}

/** Gateways of one name may all use the workspace, which they share on this machine. */
async function writeHome(home: string, { broker, model, store, workspace }: Place): Promise<void> {
  const settings = { qos: 1, limits: NO_LIMITS, streaming: { interval_ms: 50 } };
  await writeConfig(
    home,
    quickConfig(broker, settings, {
      agents: { defaults: { model_name: "m", workspace, summarize_message_threshold: 0 } },
      model_list: [{ model_name: "m", model: "openai/m", api_base: model, api_keys: ["sk-key"] }],
      gateway: { store, name: "here", port: 0 },
      tools: { exec: { pin: "here", allow_remote: true, sandbox: "none" } },
    }),
  );
}

/** Answers each question after it had its words written to a file. */
function writeThenAnswer(model: ModelServer): void {
  model.otherwise(async (request, response) => {
    const dialogue = dialogueOf(request.body.messages);
    const text = dialogue.findLast(({ role }) => role === "user")?.content ?? "";
    const hasRun = dialogue.at(-1)?.role === "tool";
    await new Promise((resolve) => setTimeout(resolve, 150));
    const command = `echo ${text} >> ran.txt`;
    const call = calls({ name: "exec", arguments: JSON.stringify({ command }) });
    await (hasRun ? answers(`done ${text}`) : call)(request, response);
  });
}

/** By client: the ids of the whole answers, in the order in which they were heard first, and their texts. */
function heardBy(device: TestDevice): Map<string, Map<string, string>> {
  const byClient = new Map<string, Map<string, string>>();
  const texts = new Map<string, string>();
  for (const { topic, payload } of device.messages) {
    const { text, id, seq, done } = JSON.parse(String(payload));
    const client = topic.split("/").at(-2) ?? "";
    texts.set(id, seq === 0 ? text : `${texts.get(id)}${text}`);
    if (done !== true) continue;
    const answered = byClient.get(client) ?? new Map<string, string>();
    byClient.set(client, answered);
    if (!answered.has(id)) answered.set(id, texts.get(id) ?? "");
  }
  return byClient;
}

/** Publishes requests of all clients in rounds; kills a gateway in the middle of the turns of some rounds. */
async function askAndKill(
  { client: publisher }: TestDevice,
  { clients, rounds }: { readonly clients: readonly string[]; readonly rounds: number },
  kill: (round: number) => Promise<void>,
): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) {
    for (const client of clients) {
      const payload = JSON.stringify({ text: `${client}${round}`, id: `${client}${round}` });
      await publisher.publishAsync(`/picoclaw/assistant/${client}/request`, payload, { qos: 1 });
    }
    if (round % 3 !== 0) continue;
    await new Promise((resolve) => setTimeout(resolve, 250));
    await kill(round);
  }
}

describe("three gateways with one database", () => {
  it(
    "lose nothing, run nothing twice and keep each client's order while some are killed",
    needs,
    async () => {
      await using postgres = await startPostgres();
      await using broker = await startMosquitto();
      await using model = await startModelServer({ forgets: true });
      await using folder = await temporaryFolder();
      await using device = await openTestDevice(broker.url, "/picoclaw/assistant/+/response");
      const workspace = join(folder.path, "workspace");
      await mkdir(workspace);
      const store = postgres.url(await postgres.createDatabase());
      writeThenAnswer(model);
      const homes = [1, 2, 3].map((number) => join(folder.path, `home${number}`));
      await using gateways = new Gateways();
      for (const home of homes) {
        await writeHome(home, { broker: broker.url, model: model.base, store, workspace });
        await gateways.start(home);
      }

      const clients = ["a", "b", "c", "d", "e", "f"];
      const rounds = 8;
      await askAndKill(device, { clients, rounds }, async (round) => {
        const home = homes[round % homes.length] ?? "";
        await gateways.end(home, "SIGKILL");
        await gateways.start(home);
      });
      const all = clients.length * rounds;
      await until("all requests are answered", () => countOf(heardBy(device)) === all, 90_000);
      for (const [client, answered] of heardBy(device)) {
        const ids = Array.from({ length: rounds }, (_, index) => `${client}${index + 1}`);
        assert.deepEqual([...answered.keys()], ids);
        assert.deepEqual(
          [...answered.values()],
          ids.map((id) => `done ${id}`),
        );
      }
      const ran = (await readFile(join(workspace, "ran.txt"), "utf8")).trim().split("\n");
      assert.equal(new Set(ran).size, ran.length, `twice: ${ran.toSorted().join(" ")}`);

      for (const home of homes) assert.equal((await gateways.end(home, "SIGTERM"))?.code, 0);
      const state = await readdir(join(workspace, "state"));
      assert.ok(!state.some((file) => file.endsWith(".db")), state.join());
      const { stdout } = await picoclaw(["sessions", "list"], { home: homes[0] ?? "" });
      for (const client of clients) assert.match(stdout, new RegExp(`\\b${client}\\b`));
    },
  );
});

function countOf(heard: ReadonlyMap<string, ReadonlyMap<string, string>>): number {
  return [...heard.values()].reduce((sum, answered) => sum + answered.size, 0);
}

/** Running gateways, by their homes. */
class Gateways implements AsyncDisposable {
  readonly #running = new Map<string, Running>();

  async start(home: string): Promise<Running> {
    const gateway = await startGateway({ home });
    this.#running.set(home, gateway);
    return gateway;
  }

  async end(home: string, signal: "SIGTERM" | "SIGKILL") {
    const gateway = this.#running.get(home);
    gateway?.kill(signal);
    return gateway?.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gateway of this.#running.values()) await gateway[Symbol.asyncDispose]();
  }
}
