import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import {
  clientIdOf,
  allowedResponseTopic,
  infoTopic,
  isDeviceClient,
  mcpClientOf,
  mcpRpcTopic,
  mcpServerTopic,
  publishTopic,
  requestFilter,
  requestTopic,
  responseTopic,
  statusTopic,
} from "../../src/mqtt/protocol/topics.ts";
import { codePoint } from "../support/code-point.ts";

const address = { prefix: "/picoclaw", agent: "edge" };
const anyText = fc.string({ unit: codePoint, maxLength: 40 });
const nearlyTopic = fc
  .array(fc.constantFrom("/", "+", "#", "\0", "$", "a", "é", "\u{1F600}", "\uFFFD", "\uD800"))
  .map((letters) => letters.join(""));

const allowed = (asked: string): string | undefined => allowedResponseTopic(address, "c1", asked);

describe("topics", () => {
  it("any client id survives the way into a topic and back, or is refused", () => {
    fc.assert(
      fc.property(fc.oneof(anyText, nearlyTopic), (client) => {
        for (const [build, direction] of [
          [requestTopic, "request"],
          [responseTopic, "response"],
        ] as const) {
          let topic: string;
          try {
            topic = build(address, client);
          } catch (error) {
            assert.ok(error instanceof Failure && error.code === "bad_request");
            assert.match(client, /[+#]|\p{Cs}|\p{Cc}|\p{Noncharacter_Code_Point}/u);
            continue;
          }
          const opaque = client !== "" && !/[/\uFFFD]/.test(client);
          assert.equal(clientIdOf(address, topic, direction), opaque ? client : undefined);
        }
      }),
    );
  });

  it("an agent of several levels has clients of one level below them", () => {
    const site = { prefix: "/picoclaw", agent: "site/kitchen" };
    assert.equal(requestFilter(site), "/picoclaw/site/kitchen/+/request");
    assert.equal(clientIdOf(site, requestTopic(site, "c1"), "request"), "c1");
    assert.equal(clientIdOf(site, responseTopic(site, "c1"), "response"), "c1");
    const [own, other] = ["/picoclaw/site/kitchen/c1/answer", "/picoclaw/site/c1/answer"];
    assert.equal(allowedResponseTopic(site, "c1", own), own);
    assert.equal(allowedResponseTopic(site, "c1", other), undefined);
    for (const topic of [
      "/picoclaw/site/kitchen/request",
      "/picoclaw/site/c1/request",
      "/picoclaw/site/kitchen/a/b/request",
    ]) {
      assert.equal(clientIdOf(site, topic, "request"), undefined, topic);
    }
    assert.equal(
      clientIdOf({ ...site, agent: "site" }, requestTopic(site, "c1"), "request"),
      undefined,
    );
  });

  it("a topic with other levels, an empty client or another agent is no request", () => {
    for (const topic of [
      "/picoclaw/edge//request",
      "/picoclaw/edge/request",
      "/picoclaw/edge/a/b/request",
      "/picoclaw/edge/a/request/",
      "/picoclaw/edge/a/response",
      "/picoclaw/edgy/a/request",
      "picoclaw/edge/a/request",
      "/picoclaw/edge/a\uFFFD/request",
    ]) {
      assert.equal(clientIdOf(address, topic, "request"), undefined, topic);
    }
    assert.equal(clientIdOf(address, "/picoclaw/edge/request/request", "request"), "request");
  });

  it("a response topic is honoured under the asker's own level alone", () => {
    for (const asked of ["/picoclaw/edge/c1/response", "/picoclaw/edge/c1/r/17"]) {
      assert.equal(allowed(asked), asked);
    }
    for (const asked of [
      "$SYS/broker",
      "$share/g/picoclaw/edge/c1/x",
      "/picoclaw/edge/c1/+",
      "/picoclaw/edge/c1/#",
      "/picoclaw/edge/c1/a\0b",
      "/picoclaw/edge/c1/request",
      "/picoclaw/edge/c1/",
      "/picoclaw/edge/c1",
      "/picoclaw/edge/c2/response",
      "/picoclaw/edge/c10/response",
      "/picoclaw/edge/status",
      "/picoclaw/edge/c1/\uFFFD",
      "/picoclaw/edge/c1/\uD800",
      `/picoclaw/edge/c1/${"x".repeat(65_535)}`,
      "",
    ]) {
      assert.equal(allowed(asked), undefined, JSON.stringify(asked.slice(0, 60)));
    }
    const dollar = { prefix: "$SYS", agent: "edge" };
    assert.equal(allowedResponseTopic(dollar, "c1", "$SYS/edge/c1/r"), undefined);
  });

  it("whatever is asked, an honoured topic is publishable and the asker's own", () => {
    fc.assert(
      fc.property(fc.oneof(anyText, nearlyTopic), nearlyTopic, (client, rest) => {
        const own = `/picoclaw/edge/${client}/`;
        const topic = allowedResponseTopic(address, client, own + rest);
        if (topic === undefined) return;
        assert.equal(publishTopic(topic), topic);
        assert.ok(topic.startsWith(own));
        assert.equal(clientIdOf(address, topic, "request"), undefined);
      }),
    );
  });

  it("what would make the broker hang up cannot be published to", () => {
    for (const topic of ["", "a/+", "a/#", "a\0", "$SYS/a", "\uDC00", "é".repeat(32_768)]) {
      assert.throws(() => publishTopic(topic), { code: "bad_request" });
    }
    assert.equal(publishTopic("é".repeat(32_767)).length, 32_767);
  });

  it("a client of MCP has the rpc topic of its id alone, or none", () => {
    const server = { server: "s", name: "house/kitchen" };
    fc.assert(
      fc.property(fc.oneof(anyText, nearlyTopic), (client) => {
        const topic = mcpRpcTopic(server, client);
        if (topic === undefined) {
          assert.match(client, /^$|[/+#\uFFFD]|\p{Cs}|\p{Cc}|\p{Noncharacter_Code_Point}/u);
          return;
        }
        assert.equal(topic, `$mcp-rpc/${client}/s/house/kitchen`);
        assert.deepEqual(mcpClientOf(server, topic), { kind: "rpc", client });
        assert.deepEqual(mcpClientOf(server, `$mcp-client/presence/${client}`), {
          kind: "presence",
          client,
        });
      }),
    );
    for (const topic of [
      "$mcp-rpc/c/s/house",
      "$mcp-rpc/c/s/house/kitchen/x",
      "$mcp-rpc/c/other/house/kitchen",
      "$mcp-client/presence/c/x",
      "$mcp-client/capability/c",
      "$mcp-server/s/house/kitchen",
      "",
    ]) {
      assert.equal(mcpClientOf(server, topic), undefined, topic);
    }
    assert.equal(mcpServerTopic("control", server), "$mcp-server/s/house/kitchen");
    for (const wrong of [{ server: "a/b" }, { server: "" }, { name: "a/#" }, { name: "a\0" }]) {
      assert.throws(() => mcpServerTopic("presence", { ...server, ...wrong }), { code: "config" });
    }
  });

  it("an agent's own topics stand beside its clients'", () => {
    assert.equal(requestFilter(address), "/picoclaw/edge/+/request");
    assert.equal(statusTopic(address), "/picoclaw/edge/status");
    assert.equal(infoTopic(address), "/picoclaw/edge/info");
  });

  it("send and listen take what can be the level of a topic, and no path", () => {
    for (const client of ["a", "Lamp_1.b:c@d-e", "...", "a b", "é", "$SYS", "x".repeat(32_768)]) {
      assert.equal(isDeviceClient(client), true, client);
    }
    for (const client of ["", " ", ".", "..", "a/b", "+", "#", "a\n", "x".repeat(32_769)]) {
      assert.equal(isDeviceClient(client), false, JSON.stringify(client));
    }
  });
});
