import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestDevice, run } from "../support/channel.ts";
import { answers, startModelServer } from "../support/model-server.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { modelConfig, startPicoclaw, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { withFaults } from "./fault-harness.ts";

const RULE = { topic: "door", when: "becomes == 'open'", prompt: "Who is it?", client: "hall" };

describe("a gateway that dies at a match of a watched topic", () => {
  for (const point of ["watch_stored", "accepted", "begun", "answered"]) {
    it(`at ${point} begins one turn with the next start`, withFaults, async () => {
      await using broker = await startMosquitto();
      await using model = await startModelServer();
      await using folder = await temporaryFolder();
      await using hall = await openTestDevice(broker.url, "/picoclaw/assistant/hall/response");
      model.otherwise(answers("It is open."));
      const watch = { mqtt: { watch: [{ ...RULE, cooldown: "1h" }] } };
      const config = { ...modelConfig(broker.url, model.base), tools: watch };
      await writeConfig(folder.path, config);
      const start = (env: Record<string, string> = {}) =>
        startPicoclaw(["gateway"], { home: folder.path, env });
      const publish = (payload: string) =>
        run("mosquitto_pub", "-p", `${broker.port}`, "-t", "door", "-m", payload, "-q", "1");
      await using first = start({ PICOCLAW_FAIL_AT: point });
      await first.said("topics are watched");
      await publish("shut");
      await publish("open");
      assert.equal((await first.ended).signal, "SIGKILL");
      await using second = start();
      await until("the answer", () => hall.messages.length > 0);
      // The cooldown holds, and the next message has no reason to begin another one.
      await second.said("topics are watched");
      await publish("shut");
      await publish("open");
      second.kill("SIGTERM");
      assert.equal((await second.ended).code, 0);
      const heard = hall.messages.map(({ payload }) => JSON.parse(String(payload)));
      assert.deepEqual([...new Set(heard.map(({ text }) => text))], ["It is open."]);
      assert.equal(new Set(heard.map(({ id }) => id)).size, 1);
    });
  }
});
