import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { openTestDevice } from "../support/channel.ts";
import { startCollector } from "../support/collector.ts";
import { answers, calls, hangs, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { modelConfig, onceInCi, startGateway, temporaryHome } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

describe("traces", { skip: needsMosquitto.skip || onceInCi.skip }, () => {
  it("continue those of MQTT 5 clients, with texts where they are asked for", async () => {
    await using collector = await startCollector(200);
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.base,
      OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: "true",
    };
    await using gateway = await startGateway({ home: home.path, env });
    // Without a subscriber an answer waits.
    await using _device = await openTestDevice(broker.url, "/picoclaw/assistant/+/response");
    const publish = async (id: string, ...parents: readonly string[]): Promise<void> => {
      const topic = `/picoclaw/assistant/${id}/request`;
      const properties = parents.flatMap((parent) => {
        return ["-D", "publish", "user-property", "traceparent", parent];
      });
      const message = ["-t", topic, "-q", "1", "-m", `{"text":"uptime of ${id}?","id":"${id}"}`];
      const to = ["-V", "5", "-h", "127.0.0.1", "-p", String(broker.port)];
      await promisify(execFile)("mosquitto_pub", [...to, ...message, ...properties]);
      await gateway.said(`"client":"${id}","outcome":"ok"`);
    };
    model.script(calls({ name: "device", arguments: '{"about":"uptime"}' }));
    model.otherwise(answers("up for long"));
    await publish("traced", `00-${TRACE}-${SPAN}-01`);
    await publish("garbage", "00-garbage");
    await publish("twice", `00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01`);
    await publish("unrecorded", `00-${TRACE}-${SPAN}-00`);
    gateway.kill("SIGTERM");
    await gateway.ended;
    await until("the spans are there", () => collector.spans().length > 0);
    const spans = collector.spans();
    const roots = spans.filter(({ name }) => name === "invoke_agent assistant");
    const questionOf = ({ attributes }: (typeof roots)[number]): string =>
      JSON.stringify(attributes.find(({ key }) => key === "gen_ai.input.messages"));
    assert.deepEqual(
      roots.map((root) => [/of (\w+)/.exec(questionOf(root))?.[1], root.parentSpanId]),
      [
        ["traced", SPAN],
        ["garbage", undefined],
        ["twice", undefined],
      ],
    );
    const traced = spans.filter(({ traceId }) => traceId === TRACE);
    assert.deepEqual(
      traced.map(({ name }) => name),
      ["invoke_agent assistant", "chat m", "execute_tool device", "chat m"],
    );
    const tool = JSON.stringify(traced[2]?.attributes);
    assert.match(tool, /gen_ai.tool.call.arguments.*about.*uptime/);
    assert.match(tool, /gen_ai.tool.call.result/);
  });

  it("are those of the client also after a crash of the gateway", async () => {
    await using collector = await startCollector(200);
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using device = await openTestDevice(broker.url, "/picoclaw/assistant/+/response");
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.base };
    model.script(hangs());
    {
      await using first = await startGateway({ home: home.path, env });
      const userProperties = { traceparent: `00-${TRACE}-${SPAN}-01` };
      const options = { qos: 1, properties: { userProperties } } as const;
      await device.client.publishAsync("/picoclaw/assistant/a/request", '{"text":"x"}', options);
      await model.received(0);
      first.kill("SIGKILL");
      await first.ended;
    }
    model.otherwise(answers("here"));
    await using gateway = await startGateway({ home: home.path, env });
    await gateway.said('"client":"a","outcome":"ok"');
    gateway.kill("SIGTERM");
    await gateway.ended;
    const [root] = collector.spans();
    assert.deepEqual([root?.traceId, root?.parentSpanId], [TRACE, SPAN]);
  });
});
