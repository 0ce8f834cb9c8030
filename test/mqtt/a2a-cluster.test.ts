import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { withA2a } from "../../src/mqtt/a2a/a2a.ts";
import type { ChannelRequest } from "../../src/mqtt/contract.ts";
import { A2A, a2aOptions, asking, CARD, openCaller, saidBy } from "../support/a2a.ts";
import { channelFor, openTestDevice, requestAt } from "../support/channel.ts";
import { openTestClusterChannel } from "../support/cluster-channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { until } from "../support/until.ts";

const settings = {
  qos: 1,
  a2a: { ...channelFor("").settings.a2a, ...A2A, agent: "assistant" },
} as const;

interface AgentOptions {
  readonly isAlone?: () => boolean;
  readonly onRequest?: (request: ChannelRequest) => Promise<void>;
}

/** One gateway of several, with a lease that the test grants. */
function openAgent(broker: string, { isAlone = () => false, onRequest }: AgentOptions = {}) {
  const { channel, lease, log, ...test } = openTestClusterChannel(broker, { settings, isAlone });
  const requests: ChannelRequest[] = [];
  const agent = withA2a(channel, {
    ...a2aOptions(broker, log, settings),
    intake: lease,
    isAlone: () => Promise.resolve(isAlone()),
    onRequest(request) {
      requests.push(request);
      return onRequest?.(request) ?? Promise.resolve();
    },
  });
  return {
    agent,
    lease,
    requests,
    async hear() {
      await test.hear();
      await until("it has the agent's name", () =>
        log.text().includes('connected {"channel":"mqtt a2a"'),
      );
    },
    request: (index = 0) => requestAt(index, requests, log),
    [Symbol.asyncDispose]: () => agent.close(),
  };
}

describe("an A2A agent of several gateways", needsMosquitto, () => {
  it("is answered by any, and what the holder did not acknowledge comes to the next", async () => {
    await using broker = await startMosquitto();
    const never = new Promise<void>(() => {});
    await using a = openAgent(broker.url, { onRequest: () => never });
    await using b = openAgent(broker.url);
    await using cards = await openTestDevice(broker.url, CARD);
    await using caller = await openCaller(broker.url, "phone");
    await a.hear();
    await until("its card is there", () => cards.messages.length === 1);
    await caller.send(asking("t1", "one"), "c1");
    const { client, address, expiresAt } = await a.request();
    // It does not know yet that the lease is another's: it was frozen, say.
    a.lease.renews = undefined;
    await b.hear();
    assert.equal((await b.request()).text, "one");
    assert.equal((await b.request()).redelivered, true);
    a.lease.revoke();
    await caller.send(asking("t2", "two"), "c2");
    assert.equal((await b.request(1)).text, "two");
    assert.equal(a.requests.length, 1);
    // The one that lost it answers all the same, from the address as it was stored.
    const reply = a.agent.replyTo({
      client,
      address,
      ...(expiresAt !== undefined && { expiresAt }),
    });
    await reply?.({ text: "from a", done: true });
    await caller.ended("c1");
    assert.equal(caller.text("c1"), "from a");
    await (await b.request(1)).reply({ text: "from b", done: true });
    await caller.ended("c2");
    assert.equal(caller.text("c2"), "from b");
    assert.deepEqual(new Set(saidBy(cards)), new Set(["online agent"]));
  });

  it("takes and acknowledges nothing without the lease", async () => {
    await using broker = await startMosquitto();
    const stored = Promise.withResolvers<void>();
    await using a = openAgent(broker.url, { onRequest: () => stored.promise });
    await using b = openAgent(broker.url);
    await using caller = await openCaller(broker.url, "phone");
    const acknowledged = () =>
      broker.log().split("Received PUBACK from acme/house/assistant").length - 1;
    await a.hear();
    await until("its own card is acknowledged", () => acknowledged() === 1);
    await caller.send(asking("t1", "one"), "c1");
    await a.request();
    a.lease.held = false;
    await caller.send(asking("t2", "two"), "c2");
    await caller.send({ jsonrpc: "2.0", id: 1, method: "GetTask", params: { id: "t" } }, "g");
    stored.resolve();
    // By then the broker would have read an acknowledgement.
    for (let trip = 0; trip < 5; trip += 1) {
      await caller.device.client.publishAsync("/elsewhere", "", { qos: 1 });
    }
    assert.equal(acknowledged(), 1);
    a.lease.revoke();
    await b.hear();
    assert.deepEqual([(await b.request()).text, (await b.request(1)).text], ["one", "two"]);
    await until("it is answered", () => caller.events("g")[0]?.error?.code === -32001);
    assert.equal(a.requests.length, 1);
    await until("the next one acknowledges", () => acknowledged() > 3);
  });

  it("waits for nothing at its end that came before it lost the lease", async () => {
    await using broker = await startMosquitto();
    await using caller = await openCaller(broker.url, "phone");
    const waits: number[] = [];
    // A machine under load takes its time, but not each time.
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await using a = openAgent(broker.url, { onRequest: () => new Promise(() => {}) });
      await a.hear();
      await caller.send(asking(`t${attempt}`, "one"));
      await a.request(attempt);
      a.lease.revoke();
      const began = performance.now();
      await a.agent.handOver?.();
      waits.push(performance.now() - began);
    }
    assert.ok(Math.min(...waits) < 1_000, waits.join(" "));
  });

  it("says offline when its last gateway stops, whichever heard", async () => {
    for (const lastHears of [true, false]) {
      await using broker = await startMosquitto();
      let lives = 2;
      const isAlone = (): boolean => lives === 1;
      const [a, b] = [openAgent(broker.url, { isAlone }), openAgent(broker.url, { isAlone })];
      await using cards = await openTestDevice(broker.url, CARD);
      await (lastHears ? b : a).hear();
      await until("its card is there", () => cards.messages.length === 1);
      await a.agent.handOver?.();
      await a.agent.close();
      assert.deepEqual(saidBy(cards), ["online agent"]);
      lives = 1;
      await b.agent.handOver?.();
      await b.agent.close();
      await until("it is offline", () => cards.messages.length === 2);
      assert.deepEqual(saidBy(cards), ["online agent", "offline agent"]);
    }
  });
});
