import assert from "node:assert/strict";
import { it } from "node:test";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

/** Blanks, quotes, other scripts, a dollar sign: a gateway serves all of them. */
const CLIENTS = ["my lamp", 'o\'brien "x"', "küche", "$lamp"];

it(
  "send and listen take every client that a gateway serves",
  { ...needsMosquitto, timeout: 60_000 },
  async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    await using _gateway = await startGateway({ home: home.path });
    await using all = startPicoclaw(["listen", "-n", "8"], { home: home.path });
    await using own = startPicoclaw(["listen", ...CLIENTS, "-n", "8"], { home: home.path });
    await Promise.all([all.said("note: connected"), own.said("note: connected")]);
    for (const client of CLIENTS) {
      const { code, stdout, stderr } = await picoclaw(["send", client, "/help"], {
        home: home.path,
      });
      assert.equal(code, 0, stderr);
      assert.match(stdout, /\/help/);
    }
    for (const listener of [all, own]) {
      const { stdout } = await listener.ended;
      const seen = stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t").slice(1, 3).join(" "));
      const wanted = CLIENTS.flatMap((client) => [`${client} request`, `${client} response`]);
      assert.deepEqual(seen, wanted);
    }
    // A foreign client hears the same topic.
    const topic = "/picoclaw/assistant/my lamp/response";
    const words = ["-p", String(broker.port), "-C", "1", "-F", "%t", "-t", topic];
    await using foreign = startClient("mosquitto_sub", words);
    await until("it has subscribed", () => /my lamp\/response \(QoS 0\)/.test(broker.log()));
    await picoclaw(["send", "my lamp", "/help"], { home: home.path });
    assert.equal((await foreign.ended).stdout, `${topic}\n`);
  },
);

it("a message without a client is not taken for one, and reads no pipe", async () => {
  await using home = await temporaryHome(quickConfig("tcp://127.0.0.1:1"));
  await using sent = startPicoclaw(["send", "how warm is it"], { home: home.path, typed: true });
  const { code, stderr } = await sent.ended;
  assert.equal(code, 2);
  assert.match(
    stderr,
    /"how warm is it" would be the client, and there is no message\ntry: write the client first/,
  );
});
