import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { GatewayStatus } from "../../src/gateway/statistics/contract.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  onceInCi,
  picoclaw,
  quickConfig,
  startGateway,
  temporaryHome,
} from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

describe("status", { skip: needsMosquitto.skip || onceInCi.skip }, () => {
  it("tells of a real gateway, over its socket and over HTTP", async () => {
    await using broker = await startMosquitto();
    await using home = await temporaryHome(quickConfig(broker.url));
    const none = await picoclaw(["status"], { home: home.path });
    assert.equal(none.code, 3, none.stderr);
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    const [, url = ""] = /"health":"(http:[^ "]+)/.exec(gateway.stderr()) ?? [];
    const asked = await picoclaw(["send", "kitchen", "uptime"], { home: home.path });
    assert.equal(asked.code, 0, asked.stderr);
    const { code, stdout, stderr } = await picoclaw(["status", "--json"], { home: home.path });
    assert.equal(code, 0, stderr);
    const status: GatewayStatus = JSON.parse(stdout);
    assert.equal(status.state, "ready");
    assert.equal(status.pid, gateway.pid);
    assert.equal(status.channels[0]?.connected, true);
    assert.deepEqual(status.requests[0]?.outcomes, { ok: 1 });
    assert.equal(status.recent[0]?.client, "kitchen");
    const { counts } = status.store.commit_seconds;
    assert.ok(counts.reduce((sum, count) => sum + count) > 0, "transactions are counted");
    const metrics = await fetch(`${url}/metrics`);
    assert.match(
      await metrics.text(),
      /^picoclaw_requests_total\{channel="mqtt",outcome="ok"\} 1$/m,
    );
    assert.equal((await fetch(`${url}/status`)).status, 200);
    await broker.kill();
    await until("the gateway has noticed that", async () => {
      const away = await picoclaw(["status", "--ready"], { home: home.path });
      return away.code === 1 && away.stdout.startsWith("not ready: ");
    });
  });

  it("says of an answer that the broker refuses that it was refused, as the log and /metrics do", async () => {
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous true", "acl_file {folder}/acl"],
      files: {
        acl: "topic readwrite #\ntopic deny /picoclaw/assistant/hall/response\n",
      },
    });
    await using home = await temporaryHome(quickConfig(broker.url, { qos: 1 }));
    await using gateway = await startGateway({ home: home.path });
    await gateway.said('"msg":"gateway started"');
    const [, url = ""] = /"health":"(http:[^ "]+)/.exec(gateway.stderr()) ?? [];
    const asked = await picoclaw(["send", "hall", "--no-wait", "uptime"], { home: home.path });
    assert.equal(asked.code, 0, asked.stderr);
    await gateway.said('"outcome":"refused"');
    const { stdout } = await picoclaw(["status", "--json"], { home: home.path });
    const status: GatewayStatus = JSON.parse(stdout);
    assert.deepEqual(status.requests[0]?.outcomes, { refused: 1 });
    assert.equal(status.recent[0]?.outcome, "refused");
    const metrics = await (await fetch(`${url}/metrics`)).text();
    assert.match(metrics, /^picoclaw_requests_total\{channel="mqtt",outcome="refused"\} 1$/m);
  });
});
