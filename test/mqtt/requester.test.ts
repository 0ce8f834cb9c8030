import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { openBroker } from "../../src/mqtt/broker/broker.ts";
import { answering, openTestChannel, openTestDevice, type TestDevice } from "../support/channel.ts";
import { leastTime } from "../support/cpu-time.ts";
import {
  freePort,
  needsMosquitto,
  startMosquitto,
  type Mosquitto,
  withAcl,
} from "../support/mosquitto.ts";
import { answerOf, collect, openTestRequester, requestOptions } from "../support/requester.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
/** Bun ends a test after 5 s unless told otherwise. */
const slow = { ...needsMosquitto, timeout: 30_000 };

/** A gateway of a few lines: publishes these payloads for every request. */
async function gatewayThatSays(
  broker: string,
  ...payloads: readonly string[]
): Promise<TestDevice & { readonly requests: () => number }> {
  const gateway = await openTestDevice(broker, "/picoclaw/edge/+/request");
  let requests = 0;
  gateway.client.on("message", (topic, request) => {
    if (request.length === 0) return;
    requests += 1;
    for (const payload of payloads) {
      gateway.client.publish(topic.replace(/request$/, "response"), payload, { qos: 1 });
    }
  });
  return { ...gateway, requests: () => requests };
}

describe("asking", () => {
  it("gets the parts of the answer, on either version", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { onRequest: answering("CPU ", "12 %", "") });
    await asked.ready();
    for (const protocol_version of [5, 4] as const) {
      await using device = await openTestRequester(broker.url, { protocol_version });
      assert.equal(device.protocol, protocol_version);
      const parts = await collect(
        device,
        requestOptions({ id: `r-${protocol_version}`, stream: false }),
      );
      assert.deepEqual(
        parts.map(({ text, seq, done, restart }) => [text, seq, done, restart]),
        [
          ["CPU ", 0, false, true],
          ["12 %", 1, false, false],
          ["", 2, true, false],
        ],
      );
    }
    assert.deepEqual(
      asked.requests.map(({ id, stream }) => [id, stream]),
      [
        ["r-5", false],
        ["r-4", false],
      ],
    );
  });

  it("goes on with more clients than a broker allows subscriptions", slow, async () => {
    const broker = await openBroker({ broker: "embedded://127.0.0.1:0" });
    const url = `tcp://127.0.0.1:${broker.port}`;
    try {
      await using asked = openTestChannel(url, { onRequest: answering("hi", "") });
      await asked.ready();
      await using device = await openTestRequester(url);
      const clients = Array.from({ length: 150 }, (_, index) => `c${index}`).values();
      const worker = async (): Promise<void> => {
        for (const client of clients) {
          const parts = await collect(device, requestOptions({ client, id: client }));
          assert.equal(parts.map(({ text }) => text).join(""), "hi");
        }
      };
      await Promise.all([1, 2, 3, 4].map(worker));
      assert.equal(asked.requests.length, 150);
    } finally {
      await broker.close();
    }
  });

  it("ends normally with an answer that is an error", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, {
      onRequest(request) {
        const error = new Failure("busy", "too much to do", { retryAfter: 30 });
        void request.reply({ text: "Too much to do.", error, done: true });
      },
    });
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    const [part] = await collect(device, requestOptions());
    assert.deepEqual(
      [part?.text, part?.done, part?.error],
      ["Too much to do.", true, { code: "busy", retryAfter: 30 }],
    );
  });

  it(
    "gets the error of a request that was not understood, although it has no id",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, {
        settings: { max_payload_bytes: 100 },
        onRequest: answering("never"),
      });
      await asked.ready();
      for (const protocol_version of [5, 4] as const) {
        await using device = await openTestRequester(broker.url, { protocol_version });
        const [part] = await collect(device, requestOptions({ text: "x".repeat(200) }));
        assert.equal(part?.error?.code, "too_large");
      }
    },
  );

  it(
    "takes neither retained messages nor another request's for its answer",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using gateway = await gatewayThatSays(
        broker.url,
        '{"text":"another","id":"r-0","seq":0,"done":true}',
        "no JSON at all",
        '{"text":"mine","id":"r-1","seq":0,"done":true}',
      );
      await gateway.client.publishAsync(RESPONSE, '{"text":"old","id":"r-1","seq":0,"done":true}', {
        retain: true,
        qos: 1,
      });
      await using device = await openTestRequester(broker.url);
      assert.equal(await answerOf(device), "mine");
    },
  );

  it(
    "forgets what came before a part 0, and passes over a part that comes twice",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using gateway = await gatewayThatSays(
        broker.url,
        '{"text":"lost ","id":"r-1","seq":0}',
        '{"text":"words","id":"r-1","seq":1}',
        '{"text":"whole ","id":"r-1","seq":0}',
        '{"text":"whole ","id":"r-1","seq":0}',
        '{"text":"answer","id":"r-1","seq":1,"done":true}',
      );
      await using device = await openTestRequester(broker.url);
      assert.equal(await answerOf(device), "whole answer");
      assert.equal(gateway.requests(), 1);
    },
  );

  it("a gateway that sends text alone has said all after 2 s of quiet", slow, async () => {
    await using broker = await startMosquitto();
    await using gateway = await gatewayThatSays(broker.url, '{"text":"Hello."}');
    await using device = await openTestRequester(broker.url, { protocol_version: 4 });
    const begin = performance.now();
    const parts = await collect(device, requestOptions());
    assert.deepEqual(
      parts.map(({ text, restart }) => [text, restart]),
      [["Hello.", true]],
    );
    const took = performance.now() - begin;
    assert.ok(took > 1_900 && took < 10_000, String(took));
    assert.equal(gateway.requests(), 1);
  });
});

/** The PUBLISH packets that asking has sent to the broker: QoS, topic and payload bytes of each. */
function published(log: string): string[][] {
  const packet = /Received PUBLISH from picoclaw-cli-\w+ \(d0, (q\d), .*?'(.*)', .*?\((\d+) bytes/g;
  return [...log.matchAll(packet)].map(([, qos = "", topic = "", size = ""]) => [qos, topic, size]);
}

describe("asking with a configuration of QoS 0", () => {
  const bytes = String(JSON.stringify({ text: "hi", id: "r-1" }).length);

  it("sends one PUBLISH of QoS 0; of QoS 1 where it says more", needsMosquitto, async () => {
    for (const qos of [0, 1, 2] as const) {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, {
        settings: { qos },
        onRequest: answering("yes"),
      });
      await asked.ready();
      await using device = await openTestRequester(broker.url, { qos });
      assert.equal(await answerOf(device), "yes");
      await until("the broker has logged it", () => published(broker.log()).length > 0);
      assert.deepEqual(published(broker.log()), [[qos === 0 ? "q0" : "q1", REQUEST, bytes]]);
    }
  });

  it(
    "reports at once that nobody is subscribed, where there is no status",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using device = await openTestRequester(broker.url);
      const asked = () =>
        assert.rejects(answerOf(device), { code: "unserved", why: /nobody subscribes/ });
      await asked();
      await until("the broker has logged it", () => published(broker.log()).length >= 3);
      const [request, own, client, ...others] = published(broker.log());
      assert.match(String(own), /^q1,\/picoclaw\/edge\/picoclaw-cli-\w+\/request,0$/);
      assert.deepEqual(
        [request, client],
        [
          ["q0", REQUEST, bytes],
          ["q1", REQUEST, "0"],
        ],
      );
      assert.deepEqual(others, []);
      // A second is what it waits for a status.
      assert.ok((await leastTime(asked)) < 900);
    },
  );

  it("reports it soon where the status is out of date", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using other = await openTestDevice(broker.url, RESPONSE);
    await other.client.publishAsync("/picoclaw/edge/status", "online", { retain: true, qos: 1 });
    await using device = await openTestRequester(broker.url);
    const begin = performance.now();
    const patient = requestOptions({ firstPartMs: 30_000 });
    await assert.rejects(answerOf(device, patient), { code: "unserved", why: /nobody subscribes/ });
    assert.ok(performance.now() - begin < 8_000);
  });

  it("reports that it may not publish there", needsMosquitto, async () => {
    await using broker = await startMosquitto(withAcl("topic read /picoclaw/edge/#"));
    await using device = await openTestRequester(broker.url);
    await assert.rejects(answerOf(device), { code: "refused", why: /0x87/ });
  });

  it("does not take what a program says to the empty message for the answer", slow, async () => {
    await using broker = await startMosquitto();
    await using gateway = await openTestDevice(broker.url, "/picoclaw/edge/+/request");
    gateway.client.on("message", (topic, payload) => {
      if (payload.length > 0) return;
      gateway.client.publish(topic.replace(/request$/, "response"), '{"text":"invalid"}');
      gateway.client.publish(RESPONSE, '{"text":"Hello.","done":true}');
    });
    await using device = await openTestRequester(broker.url);
    assert.equal(await answerOf(device), "Hello.");
    assert.equal(gateway.messages.length, 2);
  });

  it("nor what a program of its client alone says to it by Correlation Data", slow, async () => {
    await using broker = await startMosquitto();
    await using gateway = await openTestDevice(broker.url, REQUEST);
    gateway.client.on("message", (_topic, payload, { properties }) => {
      if (payload.length > 0) return;
      const { correlationData } = properties ?? {};
      const echoed = correlationData && { properties: { correlationData } };
      gateway.client.publish(RESPONSE, '{"text":"invalid"}', echoed);
      gateway.client.publish(RESPONSE, '{"text":"Hello.","done":true}');
    });
    await using device = await openTestRequester(broker.url);
    assert.equal(await answerOf(device), "Hello.");
    assert.equal(gateway.messages.length, 2);
  });

  it("is served by a program that subscribes to its client alone", slow, async () => {
    await using broker = await startMosquitto();
    await using gateway = await openTestDevice(broker.url, REQUEST);
    gateway.client.on("message", (_topic, payload) => {
      if (payload.length === 0)
        gateway.client.publish(RESPONSE, '{"text":"ok","seq":0,"done":true}');
    });
    await using device = await openTestRequester(broker.url);
    assert.equal(await answerOf(device), "ok");
    assert.equal(gateway.messages.length, 2);
  });

  it("an answer that takes longer is one answer to one request", slow, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url);
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    const waiting = answerOf(device);
    const request = await asked.request();
    await until("the broker was asked for subscribers", () =>
      published(broker.log()).some(([, , size]) => size === "0"),
    );
    await request.reply({ text: "late", done: true });
    assert.equal(await waiting, "late");
    assert.equal(asked.requests.length, 1);
  });
});

describe("an answer that does not come", () => {
  it(
    "is unserved where nobody subscribes, by the broker's word on MQTT 5",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using device = await openTestRequester(broker.url);
      await assert.rejects(answerOf(device), { code: "unserved" });
      await assert.rejects(device.publishRequest(requestOptions()), { code: "unserved" });
    },
  );

  it("is unserved by the status offline on 3.1.1", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const asked = openTestChannel(broker.url);
    await asked.ready();
    await asked.channel.close();
    await using device = await openTestRequester(broker.url, { protocol_version: 4 });
    const begin = performance.now();
    const patient = requestOptions({ firstPartMs: 30_000 });
    await assert.rejects(answerOf(device, patient), { code: "unserved", why: /status is offline/ });
    assert.ok(performance.now() - begin < 8_000);
  });

  it("is no_answer after the time for the first part", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url);
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    await assert.rejects(answerOf(device, requestOptions({ firstPartMs: 200 })), {
      code: "no_answer",
    });
  });

  it(
    "is no_answer by silence after an empty part, which says that one is coming",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using _gateway = await gatewayThatSays(broker.url, '{"text":"","id":"r-1","seq":0}');
      await using device = await openTestRequester(broker.url);
      const options = requestOptions({ id: "r-1", firstPartMs: 1_000, nextPartMs: 100 });
      await assert.rejects(answerOf(device, options), { code: "no_answer" });
    },
  );

  it("is cut_off by silence after the first part, and by a hole", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using gateway = await gatewayThatSays(broker.url, '{"text":"a","id":"r-1","seq":0}');
    await using device = await openTestRequester(broker.url);
    await assert.rejects(answerOf(device, requestOptions({ nextPartMs: 200 })), {
      code: "cut_off",
    });
    await using other = await gatewayThatSays(broker.url, '{"text":"c","id":"r-1","seq":2}');
    await assert.rejects(answerOf(device), { code: "cut_off", why: /missing/ });
    assert.deepEqual([gateway.requests(), other.requests()], [2, 1]);
  });

  it("ends with the signal of the caller", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url);
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    const stop = new AbortController();
    const waiting = answerOf(device, requestOptions({ signal: stop.signal }));
    await asked.request();
    stop.abort(new Failure("interrupted", "enough"));
    await assert.rejects(waiting, { code: "interrupted" });
  });
});

/** The gateway's wait after a loss, until the requester is subscribed again. */
const behindRequester = (broker: Mosquitto) => (): Promise<void> =>
  until("the requester is back first", () => {
    const subscribed = broker.log().matchAll(/Received SUBSCRIBE from picoclaw-cli/g);
    return [...subscribed].length === 2;
  });

describe("a broker killed while somebody waits", () => {
  for (const protocol_version of [5, 4] as const) {
    it(`and started again still brings the answer, on ${protocol_version}`, slow, async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, {
        settings: { qos: 1 },
        pause: behindRequester(broker),
      });
      await asked.ready();
      await using device = await openTestRequester(broker.url, { protocol_version });
      const waiting = answerOf(device, requestOptions({ firstPartMs: 15_000 }));
      await asked.request();
      await broker.kill();
      await broker.start();
      // The asker is back first, when nobody serves yet; the request comes again when the gateway is.
      const again = await asked.request(1);
      assert.equal(again.key, asked.requests[0]?.key);
      await again.reply({ text: "after all", done: true });
      assert.equal(await waiting, "after all");
    });
  }

  it("in the middle of an answer loses nothing of it", slow, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, {
      settings: { qos: 1 },
      pause: behindRequester(broker),
    });
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    const waiting = answerOf(device, requestOptions({ nextPartMs: 8_000 }));
    const request = await asked.request();
    await request.reply({ text: "one " });
    await until("the first part is there", () =>
      broker.log().includes("Received PUBACK from picoclaw-cli"),
    );
    await broker.kill();
    await broker.start();
    await until("noticed", () => asked.channel.problem() !== undefined);
    await request.reply({ text: "two", done: true });
    assert.equal(await waiting, "one two");
  });
});

describe("connecting to ask", () => {
  it("fails as unreachable, at once, where nothing listens", async () => {
    const port = await freePort();
    const begin = performance.now();
    await assert.rejects(openTestRequester(`tcp://127.0.0.1:${port}`, {}, 30_000), {
      code: "unreachable",
      message: new RegExp(`${port}`),
    });
    assert.ok(performance.now() - begin < 8_000);
  });

  it("fails as unreachable in time where nobody answers", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await broker.kill("SIGSTOP");
    await assert.rejects(openTestRequester(broker.url, {}, 200), {
      code: "unreachable",
      why: /no CONNACK/,
    });
  });

  it("publishes without waiting for the answer", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url);
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    await device.publishRequest(requestOptions({ text: "switch it off" }));
    assert.equal((await asked.request()).text, "switch it off");
    assert.ok(broker.log().includes(`q1, r0, m`) && broker.log().includes(`'${REQUEST}'`));
  });
});
