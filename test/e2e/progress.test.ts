import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  beginStream,
  calls,
  dialogueOf,
  event,
  hangs,
  startModelServer,
  type Behaviour,
} from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

/** Sends this again and again, and never ends. */
function repeats(words: string): Behaviour {
  return async (_, response) => {
    beginStream(response);
    const timer = setInterval(() => response.write(words), 100);
    response.on("close", () => clearInterval(timer));
  };
}

const reasoning = event({ choices: [{ index: 0, delta: { reasoning_content: "hm " } }] });

/** What a server does that gives no answer, by the question. */
const SILENT: ReadonlyMap<string, Behaviour> = new Map([
  ["accepts the request and says nothing", hangs()],
  ["sends headers and nothing", hangs("")],
  ["sends comments alone", repeats(": keep-alive\n\n")],
  ["sends reasoning alone", repeats(reasoning)],
  ["calls a tool that takes long", calls({ name: "exec", arguments: '{"command":"sleep 30"}' })],
]);

describe("a model that gives no answer", () => {
  it("is told to whoever asks, and to a request that waits behind it", needsMosquitto, async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(async (request, response) => {
      const last = dialogueOf(request.body.messages).findLast(({ role }) => role === "user");
      await (SILENT.get(last?.content ?? "") ?? hangs())(request, response);
    });
    const entry = { model_name: "m", provider: "openai", model: "m-1", api_base: model.base };
    const config = quickConfig(
      broker.url,
      { streaming: { progress_secs: 1 } },
      {
        agents: { defaults: { model_name: "m" } },
        model_list: [{ ...entry, api_key: "sk-of-a-test-0001" }],
        tools: { exec: { allow_remote: true, sandbox: "none" } },
      },
    );
    await writeConfig(home.path, config);
    await using _gateway = await startGateway({ home: home.path });
    for (const [index, question] of [...SILENT.keys()].entries()) {
      const words = ["send", `device${index}`, question];
      await using first = startPicoclaw([...words, "--json"], { home: home.path });
      await until(question, () => first.stdout().includes('"seq":1,'));
      // The same client asks for a second thing; at a terminal one sentence says so.
      await using second = startPicoclaw(words, { home: home.path });
      await second.said("note: the agent is still working");
      const stopped = await picoclaw(["send", `device${index}`, "/stop"], { home: home.path });
      assert.equal(stopped.code, 0, stopped.stderr);
      const { code, stdout } = await first.ended;
      assert.equal(code, 1, stdout);
      const result: { readonly text: string; readonly outcome: string } = JSON.parse(
        stdout.trimEnd().split("\n").at(-1) ?? "",
      );
      assert.deepEqual([result.text, result.outcome], ["", "cancelled"]);
      assert.equal((await second.ended).code, 1);
    }
  });
});
