import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { openHealth } from "../../src/gateway/health.ts";
import type { Health, HealthOptions, Readiness } from "../../src/gateway/health.ts";
import type { GatewayStatus } from "../../src/gateway/statistics/contract.ts";
import { statusOf } from "../../src/gateway/statistics/status.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { createTestGateway, shout } from "./setup.ts";

const hasIPv6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === "::1"),
);

const isReady = (): Readiness => ({ ready: true });

async function withHealth(
  options: Partial<HealthOptions>,
  use: (url: string, health: Health) => Promise<void>,
): Promise<void> {
  const defaults = { host: "127.0.0.1", port: 0, ready: isReady, log: SILENT };
  const health = await openHealth({ ...defaults, ...options });
  try {
    await use(health.addresses[0] ?? assert.fail(), health);
  } finally {
    await health.close();
  }
}

async function get(url: string, method = "GET") {
  const response = await fetch(url, { method });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

function cannotTell(): never {
  throw new Error("no state");
}

/** The server's response to these bytes until it closes the connection. */
async function say(address: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(address);
  const socket = connect(Number(port), hostname);
  socket.write(bytes);
  let heard = "";
  for await (const chunk of socket.setEncoding("utf8")) heard += String(chunk);
  return heard;
}

describe("health over HTTP", () => {
  it("is well as long as the process lives", async () => {
    await withHealth({ pid: 4711 }, async (url) => {
      const { status, headers, text } = await get(`${url}/health?probe=1`);
      assert.equal(status, 200);
      assert.equal(headers.get("content-type"), "application/json");
      assert.equal(headers.get("cache-control"), "no-store");
      assert.deepEqual(JSON.parse(text), { status: "ok", uptime: 0, pid: 4711 });
    });
  });

  it("is ready when every channel is, and says why it is not", async () => {
    let state: Readiness = { ready: false, reason: "mqtt: not connected" };
    await withHealth({ ready: () => state }, async (url) => {
      const not = await get(`${url}/ready`);
      assert.equal(not.status, 503);
      const body = { status: "not ready", reason: "mqtt: not connected", uptime: 0 };
      assert.deepEqual(JSON.parse(not.text), body);
      state = { ready: true };
      const now = await get(`${url}/ready`);
      assert.equal(now.status, 200);
      assert.deepEqual(JSON.parse(now.text), { status: "ready", uptime: 0 });
    });
  });

  it("is not ready when the check fails, and logs that", async () => {
    const log = createMemoryLog();
    const { lines } = log;
    await withHealth({ log, ready: cannotTell }, async (url) => {
      assert.equal((await get(`${url}/ready`)).status, 503);
      assert.deepEqual([lines[0]?.level, lines[0]?.fields["why"]], ["error", "no state"]);
    });
  });

  it("answers HEAD without a body, and nothing but GET and HEAD on what there is", async () => {
    await withHealth({}, async (url) => {
      const head = await get(`${url}/ready`, "HEAD");
      assert.deepEqual([head.status, head.text], [200, ""]);
      const wrongMethod = await get(`${url}/health`, "POST");
      assert.deepEqual([wrongMethod.status, wrongMethod.headers.get("allow")], [405, "GET, HEAD"]);
      for (const path of ["/", "/health/", "/HEALTH", "/reload", "/healthy"]) {
        assert.equal((await get(url + path)).status, 404, path);
      }
    });
  });

  it(
    "listens as localhost on both loopback addresses, with one port",
    { skip: !hasIPv6 },
    async () => {
      await withHealth({ host: "localhost" }, async (url, { addresses }) => {
        const { port } = new URL(url);
        assert.deepEqual(addresses, [`http://127.0.0.1:${port}`, `http://[::1]:${port}`]);
        for (const address of addresses) assert.equal((await get(`${address}/health`)).status, 200);
      });
    },
  );

  it("names port and setting when the port is taken, on either address", async () => {
    for (const [host, taken] of [
      ["127.0.0.1", "127.0.0.1"],
      ["localhost", "127.0.0.1"],
      ...(hasIPv6 ? [["localhost", "::1"] as const] : []),
    ] as const) {
      const other = createServer();
      await new Promise<void>((resolve) => {
        other.listen(0, taken, resolve);
      });
      const address = other.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      await assert.rejects(
        withHealth({ host, port }, () => Promise.resolve()),
        (thrown) => {
          assert.ok(thrown instanceof Failure);
          assert.equal(thrown.code, "failed");
          assert.match(thrown.message, new RegExp(`${port}`));
          assert.match(thrown.why ?? "", /gateway\.port/);
          assert.match(thrown.remedy ?? "", /PICOCLAW_GATEWAY_PORT/);
          return true;
        },
      );
      await new Promise((resolve) => {
        other.close(resolve);
      });
      // Nothing of the attempt is left behind.
      await withHealth({ host, port }, () => Promise.resolve());
    }
  });

  it("names the setting when the host is not of this machine", async () => {
    await assert.rejects(
      withHealth({ host: "192.0.2.1" }, () => Promise.resolve()),
      (thrown) => thrown instanceof Failure && /gateway\.host/.test(thrown.why ?? ""),
    );
  });

  it("closes at once, though a client holds its connection or never said a word", async () => {
    await withHealth({}, async (url, health) => {
      const { hostname, port } = new URL(url);
      const silent = connect(Number(port), hostname);
      const kept = connect(Number(port), hostname);
      kept.write("GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
      await new Promise((resolve) => {
        kept.once("data", resolve);
      });
      const gone = new Promise((resolve) => {
        kept.once("close", resolve);
      });
      const begin = performance.now();
      await Promise.all([health.close(), gone]);
      assert.ok(performance.now() - begin < 4_000);
      silent.destroy();
      await assert.rejects(get(`${url}/health`));
    });
  });

  it("cuts off a client that sends too much, or makes no sense", async () => {
    await withHealth({}, async (url) => {
      const large = `GET /health HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(20_000)}\r\n\r\n`;
      assert.match(await say(url, large), /^HTTP\/1\.1 431 /);
      assert.match(await say(url, "nonsense\r\n\r\n"), /^(HTTP\/1\.1 400 |$)/);
      assert.equal((await get(`${url}/health`)).status, 200);
    });
  });

  it("tells its status to this machine alone", async () => {
    await withHealth({ status: tellStatus }, async (url) => {
      const { status: code, text } = await get(`${url}/status`);
      assert.equal(code, 200);
      const { question: _, ...shown } = RECENT;
      assert.deepEqual(JSON.parse(text), { ...STATUS, recent: [shown] });
      const { host } = new URL(url);
      const refused = [
        "host: evil.example",
        "host: 127.0.0.1.evil.example",
        `host: ${host}\r\norigin: http://evil.example`,
        `host: ${host}\r\norigin: null`,
        `host: ${host}\r\nsec-fetch-site: cross-site`,
        `host: ${host}\r\nx-forwarded-for: 203.0.113.1`,
      ];
      for (const headers of refused) {
        const answer = await say(url, statusRequest(headers));
        assert.match(answer, /^HTTP\/1\.1 403 /, headers);
        assert.doesNotMatch(answer, /0123456789ab/);
      }
      const own = `host: ${host}\r\norigin: http://${host}\r\nsec-fetch-site: same-origin`;
      assert.match(await say(url, statusRequest(own)), /^HTTP\/1\.1 200 /);
      const rebound = "GET /health HTTP/1.1\r\nconnection: close\r\nhost: a.example\r\n\r\n";
      assert.match(await say(url, rebound), /^HTTP\/1\.1 200 /, "probes ask by any name");
    });
  });

  it("shows its metrics under a name of this machine, and under any where it listens for others", async () => {
    await withHealth({ status: tellStatus, host: "localhost" }, async (url) => {
      const { port } = new URL(url);
      for (const host of ["evil.example", `evil.example:${port}`, "localhost.evil.example", ""]) {
        const answer = await say(url, metricsRequest(host));
        assert.match(answer, /^HTTP\/1\.1 403 /, host);
        assert.doesNotMatch(answer, /picoclaw_/);
      }
      for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, "[::1]"]) {
        assert.match(await say(url, metricsRequest(host)), /^HTTP\/1\.1 200 /, host);
      }
    });
    for (const host of ["0.0.0.0", "127.0.0.2"]) {
      await withHealth({ status: tellStatus, host }, async (url) => {
        assert.match(await say(url, metricsRequest("gateway.lan:18790")), /^HTTP\/1\.1 200 /, host);
      });
    }
  });

  it("answers 500 and logs why when a route fails", async () => {
    const log = createMemoryLog();
    const { lines } = log;
    await withHealth({ log, status: cannotTell }, async (url) => {
      assert.equal((await get(`${url}/status`)).status, 500);
      assert.equal(lines[0]?.message, "HTTP request failed");
    });
  });
});

function metricsRequest(host: string): string {
  return `GET /metrics HTTP/1.1\r\nconnection: close\r\nhost: ${host}\r\n\r\n`;
}

function statusRequest(headers: string): string {
  return `GET /status HTTP/1.1\r\nconnection: close\r\n${headers}\r\n\r\n`;
}

const RECENT = {
  number: 1,
  at: "2026-01-01T00:00:00.000Z",
  channel: "mqtt",
  client: "device1",
  outcome: "ok",
  ms: 1,
  question: "Where is the key?",
};

const OWN = statusOf(createTestGateway(shout).gateway.report(), {
  pid: 1,
  instance: "0123456789ab",
  channels: [],
  agent: {},
  problem: undefined,
});
const STATUS: GatewayStatus = { ...OWN, recent: [RECENT] };

function tellStatus(): Promise<GatewayStatus> {
  return Promise.resolve(STATUS);
}
