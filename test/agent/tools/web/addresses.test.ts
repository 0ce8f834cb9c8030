import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createAllowance } from "../../../../src/agent/tools/web/addresses.ts";
import type { Lookup } from "../../../../src/agent/tools/web/request.ts";
import { createWebFetch } from "../../../../src/agent/tools/web/web-fetch.ts";
import { SILENT } from "../../../../src/base/log.ts";
import { at } from "../../../../src/base/unknown.ts";
import { callContext, toolSettings } from "../../../support/agent-config.ts";
import { createMemoryLog } from "../../../support/memory-log.ts";
import { answerWith, openWebServer } from "../../../support/web-server.ts";

const tool = (list: readonly string[], lookup?: Lookup, log = SILENT) =>
  createWebFetch({
    settings: { ...toolSettings().web, private_host_whitelist: list },
    fetch: () => assert.fail("it asked otherwise"),
    log,
    ...(lookup !== undefined && { lookup }),
  });

const words = (text: string): string[] => text.trim().split(/\s+/);

describe("an address", () => {
  const isAllowed = createAllowance([]);

  it("of the public internet may be fetched", () => {
    for (const address of words(`
      1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.167.1.1 193.0.0.1
      223.255.255.255 2606:4700::1111 2a00:1450:4001:80b::200e 2400:cb00:2048:1::c629:d7a2
      ::ffff:8.8.8.8 64:ff9b::808:808`)) {
      assert.equal(isAllowed(address, "x.test"), true, address);
    }
  });

  it("of any other kind may not", () => {
    for (const address of words(`
      0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 168.63.129.16
      169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.168.178.1 198.18.0.1 224.0.0.1
      239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254
      ff02::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a00:1 64:ff9b::7f00:1 64:ff9b:1::1
      64:ff9b::10.0.0.1 2002:7f00:1:: 2001:0:1::1 2001:db8::1 fec0::1 4000::1 x 1.2.3 :::`)) {
      assert.equal(isAllowed(address, "x.test"), false, address);
    }
  });

  it("may be on the list: itself, its network, or the name that leads to it", () => {
    const own = createAllowance([" 10.1.0.0/16", "192.168.1.7", "fd12::/16", "NAS.lan.", "", "/8"]);
    for (const [address, host, allowed] of [
      ["10.1.255.1", "a", true],
      ["10.2.0.1", "a", false],
      ["::ffff:10.1.0.1", "a", true],
      ["192.168.1.7", "a", true],
      ["192.168.1.8", "a", false],
      ["fd12:3::4", "a", true],
      ["fd13::4", "a", false],
      ["127.0.0.1", "nas.lan", true],
      ["127.0.0.1", "Nas.Lan.", true],
      ["127.0.0.1", "evil.nas.lan", false],
    ] as const) {
      assert.equal(own(address, host), allowed, `${address} ${host}`);
    }
  });

  it("of the public internet may not where it is this machine's own, or on its own link", () => {
    const near = createAllowance(["9.9.9.9"], () => ["8.8.4.4", "9.9.9.9", "2a00:1:2:3::5", "::1"]);
    for (const [address, allowed] of [
      ["8.8.4.4", false],
      ["::ffff:8.8.4.4", false],
      ["64:ff9b::808:404", false],
      ["8.8.4.5", true],
      ["9.9.9.9", true],
      ["2a00:1:2:3::5", false],
      ["2a00:1:2:3:ffff::1", false],
      ["2a00:1:2:4::5", true],
    ] as const) {
      assert.equal(near(address, "x.test"), allowed, address);
    }
  });

  it("of a private network may not, and in the dress of IPv6 neither", () => {
    const byte = fc.nat(255);
    const inside = fc.oneof(
      fc.tuple(fc.constant(10), byte, byte, byte),
      fc.tuple(fc.constant(127), byte, byte, byte),
      fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
      fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
    );
    fc.assert(
      fc.property(inside, (bytes) => {
        const address = bytes.join(".");
        const [a, b, c, d] = bytes.map((value) => value.toString(16).padStart(2, "0"));
        for (const dress of ["", "::ffff:", "64:ff9b::", "::"]) {
          assert.equal(isAllowed(`${dress}${address}`, "x"), false);
        }
        assert.equal(isAllowed(`::ffff:${a}${b}:${c}${d}`, "x"), false);
      }),
    );
  });
});

describe("web_fetch", () => {
  const secret = answerWith("text/plain", "SECRET");

  it("does not reach this host, however its address is spelt", async () => {
    await using server = await openWebServer(secret);
    const fetchIt = tool([]);
    for (const host of words(`
      127.0.0.1 localhost LOCALHOST. 2130706433 0x7f000001 0x7f.1 0177.0.0.1 127.1 127.0.0.1.
      ①②⑦.⓪.⓪.① １２７.0.0.1 0.0.0.0 0 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:0:0:1]
      example.com@127.0.0.1 user:pass@localhost 127%2e0.0.1`)) {
      const text = await fetchIt.run({ url: `http://${host}:${server.port}/` }, callContext());
      assert.match(text, /^error: .*(not public|no host with this name|with a user name)/, host);
    }
    assert.deepEqual(server.seen, []);
  });

  it("does not reach it by a name of the public internet, and says so in the log", async () => {
    await using server = await openWebServer(secret);
    const log = createMemoryLog();
    for (const address of ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]) {
      const fetchIt = tool([], async () => [{ address }], log);
      const text = await fetchIt.run({ url: `http://x.test:${server.port}/` }, callContext());
      assert.match(text, /^error: x\.test:\d+ was not fetched: its address is not public/);
    }
    assert.deepEqual(server.seen, []);
    assert.equal(log.lines[0]?.fields["host"], "x.test");
  });

  it("does not reach it by a redirect", async () => {
    await using inner = await openWebServer(secret);
    const targets = [inner.base, `http://localhost:${inner.port}`, `//127.0.0.1:${inner.port}/x`];
    for (const location of targets) {
      await using outer = await openWebServer(
        (_, response) => response.writeHead(302, { location }).end(),
        { host: "127.0.0.2" },
      );
      const text = await tool(["127.0.0.2"]).run({ url: outer.base }, callContext());
      assert.match(text, /^error: .*not public/);
      assert.equal(outer.seen.length, 1);
    }
    assert.deepEqual(inner.seen, []);
  });

  it("does not leave the web by a redirect", async () => {
    await using server = await openWebServer((_, response) =>
      response.writeHead(302, { location: "file:///etc/passwd" }).end(),
    );
    const text = await tool(["127.0.0.1"]).run({ url: server.base }, callContext());
    assert.match(text, /^error: .*only http and https/);
  });

  it("asks the address that was checked, whatever the resolver says afterwards", async () => {
    await using inner = await openWebServer(secret);
    let host = "";
    await using outer = await openWebServer(
      (request, response) => {
        host = request.headers.host ?? "";
        answerWith("text/plain", "public")(request, response, "");
      },
      { host: "127.0.0.2", port: inner.port },
    );
    const answers = ["127.0.0.2", "127.0.0.1"];
    const asked: string[] = [];
    const lookup: Lookup = async (name) => {
      asked.push(name);
      return [{ address: answers.shift() ?? "127.0.0.1" }];
    };
    const fetchIt = tool(["127.0.0.2"], lookup);
    const url = `http://rebind.test:${inner.port}/`;
    assert.match(await fetchIt.run({ url }, callContext()), /public$/);
    assert.deepEqual([host, asked], [`rebind.test:${inner.port}`, ["rebind.test"]]);
    assert.match(await fetchIt.run({ url }, callContext()), /^error: .*not public/);
    assert.deepEqual([outer.seen.length, inner.seen.length], [1, 0]);
  });

  it("asks the first allowed address that answers", async () => {
    await using server = await openWebServer(answerWith("text/plain", "here"));
    const all = ["10.0.0.1", "127.0.0.9", "127.0.0.1"].map((address) => ({ address }));
    const fetchIt = tool(["127.0.0.0/8"], () => Promise.resolve(all));
    assert.match(
      await fetchIt.run({ url: `http://x.test:${server.port}` }, callContext()),
      /here$/,
    );
  });

  it("names the host in TLS, and wants its certificate", async () => {
    const hello = Promise.withResolvers<string>();
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (bytes) => {
        hello.resolve(bytes.toString("latin1"));
        socket.destroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const port = Number(at(server.address(), "port"));
    const fetchIt = tool(["pages.test"], async () => [{ address: "127.0.0.1" }]);
    const text = await fetchIt.run({ url: `https://pages.test:${port}/` }, callContext());
    server.close();
    assert.match(text, /^error: pages\.test:\d+ was not fetched/);
    assert.match(await hello.promise, /pages\.test/);
  });
});
