import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { brokerCredentials, parseBroker } from "../../src/config/broker.ts";
import { codePoint } from "../support/code-point.ts";

const PATH = { path: "/" };

describe("a broker's address", () => {
  const table: readonly [text: string, address: object][] = [
    ["broker.lan", { kind: "tcp", host: "broker.lan", port: 1883, ...PATH }],
    ["broker.lan:2883", { kind: "tcp", host: "broker.lan", port: 2883, ...PATH }],
    ["192.168.1.7", { kind: "tcp", host: "192.168.1.7", port: 1883, ...PATH }],
    ["tcp://broker.lan", { kind: "tcp", host: "broker.lan", port: 1883, ...PATH }],
    ["mqtt://broker.lan/", { kind: "tcp", host: "broker.lan", port: 1883, ...PATH }],
    ["MQTT://Broker", { kind: "tcp", host: "Broker", port: 1883, ...PATH }],
    ["ssl://h", { kind: "tls", host: "h", port: 8883, ...PATH }],
    ["tls://h:1", { kind: "tls", host: "h", port: 1, ...PATH }],
    ["mqtts://h:65535", { kind: "tls", host: "h", port: 65535, ...PATH }],
    ["mqtt+ssl://h", { kind: "tls", host: "h", port: 8883, ...PATH }],
    ["tcps://h", { kind: "tls", host: "h", port: 8883, ...PATH }],
    ["ws://h", { kind: "ws", host: "h", port: 80, ...PATH }],
    ["wss://h/mqtt?x=1", { kind: "wss", host: "h", port: 443, path: "/mqtt?x=1" }],
    ["ws://h:9001/mqtt", { kind: "ws", host: "h", port: 9001, path: "/mqtt" }],
    ["tcp://[::1]:1884", { kind: "tcp", host: "::1", port: 1884, ...PATH }],
    ["[fe80::1%eth0]", { kind: "tcp", host: "fe80::1%eth0", port: 1883, ...PATH }],
    ["mqtt://user:pass@h", { kind: "tcp", host: "h", port: 1883, ...PATH }],
    ["unix:///run/mosquitto.sock", { kind: "unix", path: "/run/mosquitto.sock" }],
    ["embedded", { kind: "embedded", host: "127.0.0.1", port: 1883 }],
    ["embedded://", { kind: "embedded", host: "127.0.0.1", port: 1883 }],
    ["embedded://:0", { kind: "embedded", host: "127.0.0.1", port: 0 }],
    ["embedded://0.0.0.0:1884", { kind: "embedded", host: "0.0.0.0", port: 1884 }],
  ];
  for (const [text, address] of table) {
    it(`${text} is ${JSON.stringify(address)}`, () => {
      assert.deepEqual(parseBroker(text), address);
    });
  }
});

describe("what is no broker's address", () => {
  const table: readonly [text: string, reason: RegExp][] = [
    ["", /no host/],
    ["tcp://", /no host/],
    ["tcp://:1883", /no host/],
    ["mqttss://h", /scheme is unknown \(did you mean mqtts\?\)/],
    ["http://h", /scheme is unknown; use tcp, mqtt,.* unix, embedded/],
    ["tcp://h:0", /port/],
    ["tcp://h:65536", /port/],
    ["tcp://h:abc", /port/],
    ["tcp://h:18 83", /blank/],
    ["tcp://h\n", /blank or a control/],
    ["tcp://::1:1883", /IPv6/],
    ["tcp://[nonsense]:1883", /IPv6/],
    ["tcp://a:b:c", /host/],
    ["tcp://user:p/w@host", /%2F|port/],
    ["unix://relative.sock", /absolute path/],
    ["unix:///", /absolute path/],
    ["embedded://127.0.0.1:1/x", /no path/],
    ["embedded://127.0.0.1:70000", /port/],
  ];
  for (const [text, reason] of table) {
    it(`${JSON.stringify(text)} is refused with ${reason}`, () => {
      const address = parseBroker(text);
      assert.equal(address.kind, "invalid");
      assert.match("reason" in address ? address.reason : "", reason);
    });
  }

  it("is never quoted, since it can be a password", () => {
    for (const text of [
      "tcp://user:s3cret",
      "tcp://user:s3cret@h:s3cret",
      "tcp://u:s3#cret@h",
      "tcp://u:s3/cret@h",
    ]) {
      const address = parseBroker(text);
      assert.equal(address.kind, "invalid", text);
      assert.doesNotMatch(JSON.stringify(address), /s3|cret@/);
    }
  });
});

describe("credentials in a broker's URL", () => {
  it("are taken out and percent-decoded", () => {
    assert.deepEqual(brokerCredentials("mqtts://us%40er:p%2Fw%3A1@h:1/x"), {
      broker: "mqtts://h:1/x",
      username: "us@er",
      password: "p/w:1",
    });
  });

  it("may hold : and @ in the password", () => {
    assert.deepEqual(brokerCredentials("tcp://user:a:b@c@h"), {
      broker: "tcp://h",
      username: "user",
      password: "a:b@c",
    });
  });

  it("may be a user name alone, and come without a scheme", () => {
    assert.deepEqual(brokerCredentials("user@h:1883"), { broker: "h:1883", username: "user" });
  });

  it("keep a % that encodes nothing", () => {
    assert.equal(brokerCredentials("tcp://u:100%@h").password, "100%");
  });
});

describe("for every text", () => {
  const text = fc.oneof(
    fc.string({ unit: codePoint }),
    fc
      .tuple(fc.constantFrom("", "tcp://", "wss://", "unix://", "embedded://"), fc.string())
      .map((parts) => parts.join("")),
    fc.webUrl({ validSchemes: ["ws", "mqtt", "ssl"], withQueryParameters: true }),
  );

  it("parsing never throws, and ports are ports", () => {
    fc.assert(
      fc.property(text, (broker) => {
        const address = parseBroker(broker);
        if ("port" in address) assert.ok(address.port >= 0 && address.port <= 65_535);
      }),
    );
  });

  it("taking the credentials out does not change the address", () => {
    fc.assert(
      fc.property(text, (broker) => {
        const address = parseBroker(broker);
        if (address.kind === "invalid") return;
        assert.deepEqual(parseBroker(brokerCredentials(broker).broker), address);
      }),
    );
  });

  it("user and password that are percent-encoded come back", () => {
    const word = fc.string({ unit: "grapheme", minLength: 1 });
    fc.assert(
      fc.property(word, word, (username, password) => {
        const url = `mqtt://${encodeURIComponent(username)}:${encodeURIComponent(password)}@h`;
        assert.deepEqual(brokerCredentials(url), { broker: "mqtt://h", username, password });
      }),
    );
  });
});
