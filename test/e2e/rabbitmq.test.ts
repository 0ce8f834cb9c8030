import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { endsOf, openAsker, requestOf, type Asker } from "../support/flood.ts";
import { startModelServer, streams, streamsSlowly, tokenTexts } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../support/picoclaw.ts";
import { needsRabbitmq, startRabbitmq, type Rabbitmq } from "../support/rabbitmq.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const ANSWER = "It is twenty-one degrees, and the windows are closed.";
const CLIENTS = 4;
const COUNT = 20;
const STALL_MS = 30_000;

/** What a kill left undone: each answer is whole, and no request is without one. */
function assertHeard({ ends, texts }: Asker): void {
  const all = Array.from({ length: COUNT }, (_, index) => `r${index}`);
  const wrong = all.filter((id) => !ends.has(id) || texts.get(id) !== ANSWER);
  assert.deepEqual(wrong, [], JSON.stringify([...ends]));
}

describe("behind RabbitMQ", needsRabbitmq, () => {
  let rabbit: Rabbitmq;
  let model: ModelServer;
  before(async () => {
    if (needsRabbitmq.skip) return;
    [rabbit, model] = await Promise.all([startRabbitmq(), startModelServer()]);
  });
  after(async () => {
    await model?.close();
    await rabbit?.[Symbol.asyncDispose]();
  });

  /** A home of a gateway, and a device for which the broker keeps what it misses. */
  async function openPlace(name: string, qos: 0 | 1 | 2 = 1) {
    const stack = new AsyncDisposableStack();
    const { path: home } = stack.use(await temporaryFolder());
    const entry = { model_name: "m", provider: "openai", model: "m-1", api_base: model.base };
    const defaults = { model_name: "m", workspace: `${home}/workspace` };
    const more = { agents: { defaults }, model_list: [{ ...entry, api_key: "sk-rabbit" }] };
    await writeConfig(home, quickConfig(rabbit.url, { qos }, more));
    model.otherwise(streams({ text: ANSWER, milliseconds: 150 }));
    const device = { client: "+", qos: 1, version: 4, clientId: `devices-${name}` } as const;
    const asker = stack.use(await openAsker(rabbit.url, device));
    const ask = (index: number): Promise<void> =>
      asker.ask(`${name}-${index % CLIENTS}`, `r${index}`);
    return {
      home,
      asker,
      askAll: () => Promise.all(Array.from({ length: COUNT }, (_, index) => ask(index))),
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    };
  }

  for (const qos of [0, 1] as const) {
    it(`an answer of 60 tokens arrives whole and in parts, at QoS ${qos}`, async () => {
      await using place = await openPlace(`stream${qos}`, qos);
      model.otherwise(streamsSlowly(60, 1_200));
      await using _gateway = await startGateway({ home: place.home });
      const sent = await picoclaw(["send", "me", "count", "--json"], { home: place.home });
      assert.equal(sent.code, 0, sent.stderr);
      const lines = sent.stdout.trimEnd().split("\n");
      const parts = lines.map((line) => JSON.parse(line)).filter(({ type }) => type === "part");
      assert.equal(parts.map(({ text }) => text).join(""), tokenTexts(60).join(""));
      assert.ok(parts.length >= 3, `${parts.length} parts`);
    });
  }

  // It makes QoS 2 a 1, and reads nothing more behind a PUBREL.
  for (const qos of [1, 2] as const) {
    it(`what is asked while the gateway is away is answered when it is back, at QoS ${qos}`, async () => {
      await using place = await openPlace(`away${qos}`, qos);
      {
        await using first = await startGateway({ home: place.home });
        first.kill("SIGTERM");
        assert.equal((await first.ended).code, 0);
      }
      await place.askAll();
      await using _second = await startGateway({ home: place.home });
      await endsOf(place.asker, COUNT, STALL_MS);
      assertHeard(place.asker);
    });
  }

  for (const [name, count, bytes] of [
    ["500 requests", 500, 0],
    ["110 requests of 250 KB", 110, 250 * 1024],
  ] as const) {
    it(`${name} of one client, asked while the gateway is away, end without a lost connection`, async () => {
      await using place = await openPlace(`flood${bytes}`);
      {
        await using first = await startGateway({ home: place.home });
        first.kill("SIGTERM");
        await first.ended;
      }
      const ids = Array.from({ length: count }, (_, index) => `f${index}`);
      const ask = (id: string) => place.asker.ask("flood", id, requestOf(id, "How warm?", bytes));
      await Promise.all(ids.map(ask));
      await using second = await startGateway({ home: place.home });
      await endsOf(place.asker, count, STALL_MS);
      const silent = ids.filter((id) => !place.asker.ends.has(id));
      assert.deepEqual(silent, [], second.stderr().slice(-2_000));
      assert.doesNotMatch(second.stderr(), /again_in_s/);
    });
  }

  it("nothing is lost when the gateway is killed in the middle", async () => {
    await using place = await openPlace("gateway");
    await using first = await startGateway({ home: place.home });
    await place.askAll();
    await endsOf(place.asker, 5, STALL_MS);
    first.kill("SIGKILL");
    await first.ended;
    await using _second = await startGateway({ home: place.home });
    await endsOf(place.asker, COUNT, STALL_MS);
    assertHeard(place.asker);
  });

  it("nothing is lost when RabbitMQ is killed in the middle", async () => {
    await using place = await openPlace("rabbit");
    await using gateway = await startGateway({ home: place.home });
    await place.askAll();
    await endsOf(place.asker, 5, STALL_MS);
    await rabbit.kill();
    await until("the loss is noticed", () => gateway.stderr().includes("again_in_s"));
    await rabbit.start();
    await endsOf(place.asker, COUNT, STALL_MS);
    assertHeard(place.asker);
  });
});
