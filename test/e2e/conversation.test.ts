import assert from "node:assert/strict";
import { it } from "node:test";
import { answers, startModelServer, dialogueOf } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

it(
  "all clients share one conversation where neither chat nor sender tells them apart, and it is read and deleted while the gateway runs",
  needsMosquitto,
  async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryFolder();
    model.otherwise(answers("well"));
    const model_list = [{ model_name: "m", model: "openai/m", api_base: model.base }];
    const defaults = { model_name: "m" };
    const session = { dimensions: ["space"] };
    const more = { version: 3, agents: { defaults }, model_list, session };
    await writeConfig(home.path, quickConfig(broker.url, {}, more));
    await using _gateway = await startGateway({ home: home.path });
    const run = (...args: readonly string[]) => picoclaw(args, { home: home.path });
    const said = () =>
      dialogueOf(model.requests.at(-1)?.body.messages).map(({ content }) => content);
    assert.equal((await run("send", "kitchen", "one")).code, 0);
    assert.equal((await run("send", "hall", "two")).code, 0);
    assert.deepEqual(said(), ["one", "well", "two"]);

    const list = await run("sessions", "list");
    assert.match(list.stdout, /^shared\t\*\t2\t\S+Z\t\d+\n$/, list.stderr);
    const deleted = await run("sessions", "delete", "shared");
    assert.equal(deleted.stdout, "deleted the conversation with shared (*): 2 turns\n");
    assert.equal((await run("send", "hall", "three")).code, 0);
    assert.deepEqual(said(), ["three"]);
  },
);
