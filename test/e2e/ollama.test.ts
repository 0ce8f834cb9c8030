import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ollama } from "ollama";
import {
  answers,
  dialogueOf,
  hangs,
  startModelServer,
  streams,
  type ModelServer,
} from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  onceInCi,
  startGateway,
  temporaryHome,
  type Running,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const TOKEN = "a-token-of-home-assistant";

interface Served extends AsyncDisposable {
  readonly gateway: Running;
  readonly model: ModelServer;
  /** The gateway's URL. */
  readonly url: string;
}

async function startServed(gateway: object): Promise<Served> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startMosquitto());
  const model = stack.use(await startModelServer());
  const config = modelConfig(broker.url, model.base, { gateway });
  const home = stack.use(await temporaryHome(config));
  const running = stack.use(await startGateway({ home: home.path }));
  await running.said('"msg":"gateway started"');
  const [, url = ""] = /"health":"(http:[^ "]+)/.exec(running.stderr()) ?? [];
  const all = stack.move();
  return { gateway: running, model, url, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

describe("the API of Ollama", { skip: needsMosquitto.skip || onceInCi.skip }, () => {
  it("says what to set where it is not enabled", async () => {
    await using served = await startServed({});
    for (const [path, key] of [
      ["api/chat", "gateway.ollama.enabled"],
      ["api/tags", "gateway.ollama.enabled"],
      ["mcp", "gateway.mcp.enabled"],
    ] as const) {
      const method = path === "api/tags" ? "GET" : "POST";
      const response = await fetch(new URL(path, served.url), { method });
      assert.equal(response.status, 404);
      assert.match(
        JSON.stringify(await response.json()),
        new RegExp(`not enabled: set ${key} to true`),
      );
    }
  });

  it("is spoken to by the client of Ollama, streamed and whole", async () => {
    await using served = await startServed({
      tokens: { "home-assistant": TOKEN },
      ollama: { enabled: true },
    });
    const headers = { authorization: `Bearer ${TOKEN}` };
    const ollama = new Ollama({ host: served.url, headers });
    const [entry] = (await ollama.list()).models;
    assert.equal(entry?.model, "assistant:latest");
    assert.equal((await ollama.version()).version, "0.9.0");
    assert.ok((await ollama.show({ model: "assistant" })).capabilities.includes("vision"));

    served.model.script(streams({ text: ["The lamp ", "is ", "on. ✓"], milliseconds: 900 }));
    // As Home Assistant asks: its prompt and its history are not for this agent.
    const messages = [
      { role: "system", content: "You are a voice assistant for Home Assistant." },
      { role: "user", content: "hello" },
      { role: "assistant", content: "Hi." },
      { role: "user", content: "is the lamp on?" },
    ];
    const asked = {
      model: "assistant:latest",
      messages,
      keep_alive: -1,
      options: { num_ctx: 8192 },
    };
    let text = "";
    let chunks = 0;
    for await (const { message, done, done_reason } of await ollama.chat({
      ...asked,
      stream: true,
    })) {
      text += message.content;
      chunks += 1;
      if (done) assert.equal(done_reason, "stop");
    }
    assert.equal(text, "The lamp is on. ✓");
    assert.ok(chunks > 2, `${chunks} chunks`);
    const { body } = await served.model.received(0);
    assert.deepEqual(
      dialogueOf(body.messages).map(({ content }) => content),
      ["is the lamp on?"],
    );
    assert.ok(!JSON.stringify(body).includes("voice assistant for Home Assistant"));

    served.model.script(answers("It still is."));
    const again = [{ role: "user", content: "and now?" }];
    const whole = await ollama.chat({ model: "assistant", messages: again });
    assert.equal(whole.message.content, "It still is.");
    assert.equal(whole.done, true);
    // The conversation is the gateway's.
    const second = dialogueOf((await served.model.received(1)).body.messages);
    assert.deepEqual(
      second.map(({ content }) => content),
      ["is the lamp on?", "The lamp is on. ✓", "and now?"],
    );
    await assert.rejects(ollama.chat({ model: "llama3", messages: again }), /llama3.*not found/);
    await assert.rejects(new Ollama({ host: served.url }).list(), /a bearer token is needed/);
    await served.gateway.said('"client":"home-assistant"');
  });

  it("cancels the turn of a client that leaves", async () => {
    await using served = await startServed({ ollama: { enabled: true } });
    served.model.script(hangs(), answers("Here again."));
    const ollama = new Ollama({ host: served.url });
    const messages = [{ role: "user", content: "wait" }];
    const leave = new AbortController();
    const body = JSON.stringify({ model: "assistant", messages });
    const left = fetch(`${served.url}/api/chat`, { method: "POST", body, signal: leave.signal });
    const { gone } = await served.model.received(0);
    leave.abort();
    await assert.rejects(left);
    await until("the model's call has ended", () => gone.aborted);
    await served.gateway.said('"outcome":"cancelled"');
    // Its next question does not wait behind the first one.
    const { message } = await ollama.chat({ model: "assistant", messages });
    assert.equal(message.content, "Here again.");
  });

  it("waits for a silent model longer than an idle connection lasts", async () => {
    await using served = await startServed({ ollama: { enabled: true } });
    served.model.script(async (request, response) => {
      await new Promise((resolve) => setTimeout(resolve, 12_000));
      await answers("At last.")(request, response);
    });
    const ollama = new Ollama({ host: served.url });
    const messages = [{ role: "user", content: "think" }];
    const { message } = await ollama.chat({ model: "assistant", messages });
    assert.equal(message.content, "At last.");
  });
});
