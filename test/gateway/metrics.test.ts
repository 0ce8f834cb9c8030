import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { metricsText } from "../../src/gateway/http/metrics.ts";
import type { GatewayStatus } from "../../src/gateway/statistics/contract.ts";
import { statusOf } from "../../src/gateway/statistics/status.ts";
import { ask } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createTestGateway } from "./setup.ts";

/** The parser of Prometheus's own client for Python, and its rules for names. */
const PARSER = `import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, s.value] for s in f.samples]] for f in parse(sys.stdin.read())]))`;
const PYTHON = "/usr/bin/python3";
const parser = spawnSync(PYTHON, ["-c", "import prometheus_client"]);
const skip = parser.status === 0 ? false : "python3-prometheus-client is not installed";

type Family = [
  name: string,
  type: string,
  help: string,
  samples: [name: string, labels: Record<string, string>, value: number][],
];

function parsed(text: string): readonly Family[] {
  const { stdout, stderr, status } = spawnSync(PYTHON, ["-c", PARSER], { input: text });
  assert.equal(status, 0, stderr.toString());
  return JSON.parse(stdout.toString());
}

async function busyStatus(): Promise<GatewayStatus> {
  const spent = { inputTokens: 10, outputTokens: 5, cachedTokens: 4, cost: 0.5 };
  const call = { provider: "openai", model: "m", startedAt: 0, endedAt: 2, spent };
  const { gateway } = createTestGateway(async function* ({ allowance }) {
    allowance.ended?.({ ...call, name: 'a "model" \\ of\nlines' });
    allowance.ended?.({ tool: "exec", verdict: "refused", startedAt: 1, endedAt: 13 });
    yield "done";
    return { messages: [] };
  });
  for (const client of ["secret-client", "other-client"]) {
    const asked = ask("x", { client });
    void gateway.accept(asked.request);
    await asked.done;
  }
  await settled();
  const channel = {
    name: "mqtt",
    agent_id: "a",
    topic_prefix: "/picoclaw",
    broker: ["tcp://localhost"],
    qos: 1,
    connected: true,
    sessions_lost: 2,
    messages_dropped: 0,
    other_gateways: 0,
  } as const;
  return statusOf(gateway.report(), {
    pid: 1,
    instance: "0123456789ab",
    channels: [channel],
    agent: {},
    problem: undefined,
  });
}

describe("metrics for Prometheus", () => {
  it("are read by its own parser, with names by its rules", { skip }, async () => {
    const families = parsed(metricsText(await busyStatus()));
    const samplesOf = (name: string): Family[3] =>
      families.find(([family]) => family === name)?.[3] ?? assert.fail(name);
    for (const [name, type, help] of families) {
      assert.match(name, /^picoclaw_[a-z][a-z_]*[a-z]$/);
      assert.ok(["counter", "gauge", "histogram"].includes(type), name);
      assert.ok(help.endsWith("."), name);
    }
    assert.deepEqual(samplesOf("picoclaw_requests"), [
      ["picoclaw_requests_total", { channel: "mqtt", outcome: "ok" }, 2],
    ]);
    assert.deepEqual(samplesOf("picoclaw_broker_connected"), [
      ["picoclaw_broker_connected", { channel: "mqtt" }, 1],
    ]);
    const model = 'a "model" \\ of\nlines';
    assert.deepEqual(
      samplesOf("picoclaw_tokens").map(([, labels, value]) => [labels, value]),
      [
        [{ model, type: "input" }, 20],
        [{ model, type: "cached" }, 8],
        [{ model, type: "output" }, 10],
      ],
    );
    const durations = samplesOf("picoclaw_request_duration_seconds");
    assert.deepEqual(durations.at(-1)?.slice(1), [{ channel: "mqtt" }, 2]);
    const buckets = durations.filter(([name]) => name.endsWith("_bucket"));
    assert.equal(buckets.at(-1)?.[1]["le"], "+Inf");
    const counts = buckets.map(([, , count]) => count);
    assert.deepEqual(
      counts,
      counts.toSorted((left, right) => left - right),
      "cumulated",
    );
  });

  it("name no client, and end each line", async () => {
    const text = metricsText(await busyStatus());
    assert.doesNotMatch(text, /secret-client|other-client/);
    assert.match(text, /^(?:[^\n]+\n)+$/);
  });
});
