import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createServer, type Server } from "node:tls";
import { Secret } from "../../src/base/secret.ts";
import { certificateChecks, watchCertificates, identityCheck } from "../../src/mqtt/checks/tls.ts";
import { channelFor, run } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const DAY = 86_400_000;

describe("the certificates of a channel", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: Server;
  let url = "";
  const file = (name: string): string => join(folder.path, name);

  before(async () => {
    folder = await temporaryFolder();
    for (const [name, days] of [
      ["server", 60],
      ["own", 400],
    ] as const) {
      const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days ${days} -subj /CN=localhost -keyout ${file(`${name}.key`)} -out ${file(`${name}.crt`)}`;
      await run("openssl", ...words.split(" "));
    }
    const cert = await readFile(file("server.crt"));
    server = createServer({ cert, key: await readFile(file("server.key")) }, (socket) => {
      socket.on("error", () => {});
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    url = `mqtts://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  });
  after(async () => {
    server.close();
    await folder[Symbol.asyncDispose]();
  });

  const channel = () =>
    channelFor(url, {
      tls: {
        verify: true,
        ca_file: file("server.crt"),
        cert_file: file("own.crt"),
        key_file: file("own.key"),
      },
    });
  const resultsIn = async (days: number) => {
    const checks = await certificateChecks(channel(), Date.now() + days * DAY);
    return checks.map(({ name, result }) => `${name}: ${result}`);
  };

  it("are reported 30 days before they expire, and when they have", async () => {
    const own = "cert_file of mqtt: ok";
    const both = (result: string) => [
      `certificate of mqtt's broker: ${result}`,
      `ca_file of mqtt: ${result}`,
      own,
    ];
    assert.deepEqual(await resultsIn(0), both("ok"));
    assert.deepEqual(await resultsIn(29), both("ok"));
    assert.deepEqual(await resultsIn(31), both("warn"));
    assert.deepEqual(await resultsIn(59), both("warn"));
    assert.deepEqual(await resultsIn(61), both("fail"));
  });

  it("are not blamed for a clock that was never set, or is behind", async () => {
    for (const now of [0, Date.now() - 10 * DAY]) {
      for (const { result, message, remedy } of await certificateChecks(channel(), now)) {
        assert.equal(result, "fail");
        assert.match(message, /the clock of this device says/);
        assert.match(remedy ?? "", /set the clock/);
      }
    }
  });

  it("are left alone where there is no TLS, no broker or no certificate in the file", async () => {
    assert.deepEqual(await certificateChecks(channelFor("tcp://127.0.0.1:1")), []);
    assert.deepEqual(await certificateChecks(channelFor("mqtts://127.0.0.1:1")), []);
    const tls = { verify: true, ca_file: file("own.key") };
    assert.deepEqual(await certificateChecks(channelFor("mqtts://127.0.0.1:1", { tls })), []);
  });

  it("are checked when a gateway starts, and logged", async () => {
    const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=x -keyout ${file("brief.key")} -out ${file("brief.crt")}`;
    await run("openssl", ...words.split(" "));
    const log = createMemoryLog();
    const tls = { verify: true, ca_file: file("brief.crt") };
    const stop = watchCertificates([channelFor("mqtts://127.0.0.1:1", { tls })], log);
    await until("it is told", () => log.lines.length > 0);
    assert.match(log.text(), /^warn it expires on .*in 2 days .*ca_file of mqtt/);
    await stop();
  });
});

describe("the identity of clients", () => {
  it("is a warning where a broker beyond this machine asks for no credentials", () => {
    const open = identityCheck(channelFor("tcp://broker.lan"), false);
    assert.equal(open?.result, "warn");
    assert.match(open?.remedy ?? "", /picoclaw acl/);
    const username = new Secret("me");
    assert.equal(identityCheck(channelFor("tcp://broker.lan", { username }), false)?.result, "ok");
    for (const own of ["tcp://127.0.0.1", "tcp://localhost", "unix:///run/m.sock", "embedded"]) {
      assert.equal(identityCheck(channelFor(own), false), undefined);
    }
  });

  it("is a warning on this machine, too, where commands of clients reach the broker", () => {
    for (const own of ["tcp://127.0.0.1", "embedded"]) {
      const found = identityCheck(channelFor(own), true);
      assert.equal(found?.result, "warn");
      assert.match(found?.message ?? "", /a command of a client .* in the name of every client/);
    }
    const username = new Secret("me");
    assert.equal(identityCheck(channelFor("embedded", { username }), true)?.result, "ok");
    assert.equal(identityCheck(channelFor("unix:///run/m.sock"), true), undefined);
  });
});
