import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { at, listAt } from "../../src/base/unknown.ts";
import { openTestDevice, type TestDevice } from "../support/channel.ts";
import type { Behaviour } from "../support/model-server.ts";
import { answers, calls, dialogueOf, startModelServer, streams } from "../support/model-server.ts";
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
const HEARS = "connected as the intake";
/** Of one answer; the budget of a day is less. */
const USAGE = { prompt_tokens: 60_000, completion_tokens: 1 };

function tool(name: string, facts: object): Behaviour {
  return calls({ name, arguments: JSON.stringify(facts) });
}

function ask(home: string, client: string, text: string) {
  return picoclaw(["send", client, text], { home });
}

/** The instructions of the gateways that the last info lists. */
function kindsIn({ messages }: TestDevice): ReadonlySet<unknown> {
  const info: unknown = JSON.parse(String(messages.at(-1)?.payload ?? "{}"));
  return new Set(listAt(info, "gateways").map((gateway) => at(gateway, "instructions")));
}

/** Remembers and measures when it is asked to, else answers. */
const serve: Behaviour = async (request, response) => {
  const dialogue = dialogueOf(request.body.messages);
  const text = dialogue.findLast(({ role }) => role === "user")?.content ?? "";
  const last = dialogue.at(-1);
  const behaviour = (): Behaviour => {
    if (last?.role === "tool") return answers(`It said: ${last.content}`);
    if (text.includes("remember")) return tool("memory", { action: "remember", text: "likes tea" });
    if (text.includes("measure")) return tool("device", { facts: ["hostname"] });
    return streams({ text: "Fine.", usage: USAGE });
  };
  await behaviour()(request, response);
};

describe("gateways that share a database", () => {
  it("have one budget, one memory, and commands where they are pinned", needs, async () => {
    await using postgres = await startPostgres();
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    await using folder = await temporaryFolder();
    await using watcher = await openTestDevice(broker.url, "/picoclaw/assistant/info");
    model.otherwise(serve);
    const store = postgres.url(await postgres.createDatabase());
    const homeOf = async (name: string, soul: string): Promise<string> => {
      const home = join(folder.path, name);
      const limits = { ...NO_LIMITS, tokens_per_day: 100_000 };
      await writeConfig(
        home,
        quickConfig(
          broker.url,
          { qos: 1, limits },
          {
            agents: { defaults: { model_name: "m", summarize_message_threshold: 0 } },
            model_list: [
              { model_name: "m", model: "openai/m", api_base: model.base, api_keys: ["sk-key"] },
            ],
            gateway: { store, name, port: 0 },
            tools: { exec: { pin: "north", allow_remote: true, sandbox: "none" } },
          },
        ),
      );
      await mkdir(join(home, "workspace/memory"), { recursive: true });
      await writeFile(join(home, "workspace/SOUL.md"), soul);
      await writeFile(join(home, "workspace/memory/MEMORY.md"), `- of ${name}\n`);
      return home;
    };
    const [north, south] = [await homeOf("north", "calm"), await homeOf("south", "wild")];
    const toolsOf = (): readonly string[] =>
      (model.requests.at(-1)?.body.tools ?? []).map(({ function: { name } }) => name);
    {
      await using first = await startGateway({ home: north });
      await first.said(HEARS);
      assert.match((await ask(north, "kitchen", "remember it")).stdout, /It said: .*Remembered\./s);
      assert.ok(toolsOf().includes("exec"));
      assert.equal((await ask(north, "spender", "1")).stdout.trim(), "Fine.");
      await using second = await startGateway({ home: south });
      await until("info tells of two kinds of instructions", () => kindsIn(watcher).size === 2);
      const { stdout } = await picoclaw(["gateway", "--check"], { home: south });
      assert.match(
        stdout,
        /^warn +cluster +AGENT\.md, SOUL\.md and skills: .+ gateway north: SOUL\.md differs/m,
      );
      assert.match(
        stdout,
        /exec and the tools for files: run on the gateway north, not on .+ south/,
      );
      first.kill("SIGTERM");
      await first.ended;
      await second.said(HEARS);
      assert.match((await ask(south, "kitchen", "measure it")).stdout, /of the gateway south:/i);
      assert.ok(!toolsOf().includes("exec") && !toolsOf().includes("read_file"));
      const prompt = JSON.stringify(model.requests.at(-1)?.body.messages);
      for (const known of ["likes tea", "of north", "of south"]) assert.ok(prompt.includes(known));
      const here = await picoclaw(["agent", "-m", "/memory"], { home: south });
      assert.match(here.stdout, /of north/);
      assert.equal((await ask(south, "spender", "2")).stdout.trim(), "Fine.");
      const refused = await ask(south, "spender", "3");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /budget/);
      second.kill("SIGKILL");
      await second.ended;
    }
    await using again = await startGateway({ home: north });
    await again.said(HEARS);
    const still = await ask(north, "spender", "4");
    assert.deepEqual([still.code, /budget/.test(still.stderr)], [1, true]);
    again.kill("SIGTERM");
    assert.equal((await again.ended).code, 0);
  });
});
