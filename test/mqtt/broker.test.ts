import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connectAsync } from "mqtt";
import { Secret } from "../../src/base/secret.ts";
import { openBroker } from "../../src/mqtt/broker/broker.ts";
import { answering, openTestChannel } from "../support/channel.ts";
import { answerOf, openTestRequester } from "../support/requester.ts";
import { until } from "../support/until.ts";

const credentials = { username: new Secret("me"), password: new Secret("s3cret") };

describe("the built-in broker", () => {
  it("carries a question and its answer, on a free port of the loopback", async () => {
    const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
    assert.equal(broker.host, "127.0.0.1");
    assert.ok(broker.port > 0);
    const url = `embedded://127.0.0.1:${broker.port}`;
    await using asked = openTestChannel(url, {
      settings: { qos: 1 },
      onRequest: answering("o", "k"),
    });
    await asked.ready();
    await using device = await openTestRequester(url);
    assert.equal(await answerOf(device), "ok");
    await broker.close();
  });

  it("will not listen for everyone without credentials, nor with empty ones", async () => {
    const empty = { username: new Secret(""), password: new Secret("") };
    for (const some of [{}, { username: new Secret("me") }, { password: new Secret("x") }, empty]) {
      for (const host of ["0.0.0.0", "[::]", "192.0.2.1", "broker.lan"]) {
        const settings = { broker: `embedded://${host}:0`, ...some };
        await assert.rejects(openBroker(settings), { code: "config", remedy: /password/ });
      }
    }
  });

  it("lets in with the right credentials alone", async () => {
    const broker = await openBroker({ broker: "embedded://0.0.0.0:0", ...credentials });
    const url = `mqtt://127.0.0.1:${broker.port}`;
    const enter = (username?: string, password?: string) =>
      connectAsync(
        url,
        {
          reconnectPeriod: 0,
          ...(username !== undefined && { username }),
          ...(password !== undefined && { password }),
        },
        false,
      );
    for (const [name, word] of [
      [],
      ["me"],
      ["me", "wrong"],
      ["you", "s3cret"],
      ["me", ""],
      ["me", "s3cret "],
    ]) {
      await assert.rejects(enter(name, word), { code: 5 });
    }
    await (await enter("me", "s3cret")).endAsync();
    const wrong = { ...credentials, password: new Secret("wrong") };
    await using asked = openTestChannel(url, { settings: wrong });
    await assert.rejects(asked.ready(), { code: "refused" });
    await broker.close();
  });

  it("names the port that is taken", async () => {
    const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
    const again = openBroker({ broker: `embedded://127.0.0.1:${broker.port}` });
    await assert.rejects(again, { code: "failed", message: new RegExp(`:${broker.port}`) });
    await broker.close();
  });

  it("is gone after close, and its clients notice", async () => {
    const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
    await using asked = openTestChannel(`tcp://127.0.0.1:${broker.port}`);
    await asked.ready();
    await broker.close();
    await until("noticed", () => asked.channel.problem() !== undefined);
    const next = await openBroker({ broker: `embedded://127.0.0.1:${broker.port}` });
    await next.close();
  });
});
