import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestDevice } from "../support/channel.ts";
import { answers, hangs, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  onceInCi,
  picoclaw,
  quickConfig,
  startGateway,
  temporaryHome,
} from "../support/picoclaw.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip };
const LONG = "The kitchen has 21 degrees, and the cellar has 12.";

describe("a display", needs, () => {
  it("gets the bare text, cut to its size, also after a crash, and others get JSON", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using device = await openTestDevice(broker.url, "/picoclaw/assistant/+/response");
    const ask = (client: string, request: object) =>
      device.client.publishAsync(
        `/picoclaw/assistant/${client}/request`,
        JSON.stringify({ text: "how warm?", ...request }),
        { qos: 1 },
      );
    {
      await using gateway = await startGateway({ home: home.path });
      model.script(answers(LONG));
      await ask("display", { accept: "text/plain", max_chars: 20, id: "r-1" });
      const { payload, properties } = await device.message(0);
      assert.equal(payload.toString(), "The kitchen has 21…");
      assert.equal(properties?.contentType, "text/plain");
      const instructions =
        model.requests[0]?.body.messages?.map(({ content }) => content).join("\n") ?? "";
      assert.match(instructions, /at most 20 characters/);

      await ask("display", { accept: "text/plain", format: "no" });
      assert.match(
        (await device.message(1)).payload.toString(),
        /^The request was not understood: [^\n]*\.$/,
      );
      model.script(answers(LONG));
      await ask("board", { id: "r-2", stream: false });
      assert.equal(
        (await device.message(2)).payload.toString(),
        JSON.stringify({ text: LONG, id: "r-2", seq: 0, done: true }),
      );
      model.script(hangs());
      await ask("display", { accept: "text/plain", id: "r-3" });
      await model.received(2);
      gateway.kill("SIGKILL");
      await gateway.ended;
    }
    model.otherwise(answers(LONG));
    await using _gateway = await startGateway({ home: home.path });
    assert.equal((await device.message(3)).payload.toString(), LONG);
  });

  it("needs nothing in its requests on a channel of displays, where send still gets JSON", async () => {
    await using broker = await startMosquitto();
    const settings = { accept: "text/plain", max_chars: 30 };
    await using home = await temporaryHome(quickConfig(broker.url, settings));
    await using _gateway = await startGateway({ home: home.path });
    await using device = await openTestDevice(broker.url, "/picoclaw/assistant/display/response");
    await device.client.publishAsync("/picoclaw/assistant/display/request", '{"text":"/help"}');
    const text = (await device.message(0)).payload.toString();
    assert.match(text, /^Commands:\n.*…$/s);
    assert.ok(Array.from(text).length <= 30, text);
    const sent = await picoclaw(["send", "board", "/help"], { home: home.path });
    assert.equal(sent.stdout, `${text}\n`, sent.stderr);
  });

  it("is answered as the settings for its client id say, among others and unless it asks otherwise", async () => {
    await using broker = await startMosquitto();
    const settings = {
      qos: 1,
      max_chars: 200,
      clients: {
        "display-hall": { accept: "text/plain" },
        "display-*": { accept: "text/plain", max_chars: 30 },
      },
    };
    await using home = await temporaryHome(quickConfig(broker.url, settings));
    await using _gateway = await startGateway({ home: home.path });
    await using device = await openTestDevice(broker.url, "/picoclaw/assistant/+/response");
    let count = 0;
    const ask = async (client: string, asked: object = {}): Promise<string> => {
      const payload = JSON.stringify({ text: "/help", ...asked });
      await device.client.publishAsync(`/picoclaw/assistant/${client}/request`, payload, {
        qos: 1,
      });
      count += 1;
      return (await device.message(count - 1)).payload.toString();
    };
    const short = await ask("display-1");
    assert.match(short, /^Commands:\n.*…$/s);
    assert.ok(Array.from(short).length <= 30, short);
    const channels = await ask("display-hall");
    assert.match(channels, /^Commands:\n.*…$/s);
    assert.ok(Array.from(channels).length > 100, channels);
    const parsed: unknown = JSON.parse(await ask("board", { stream: false }));
    assert.partialDeepStrictEqual(parsed, { text: channels, done: true });
    const own = await ask("display-1", { max_chars: 60, accept: "application/json" });
    assert.match(own, /^\{"text":"Commands:/);
    const { text } = JSON.parse(own);
    assert.ok(text.length > 30 && text.length <= 60, text);
  });
});
