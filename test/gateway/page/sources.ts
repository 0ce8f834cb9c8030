import { Failure } from "../../../src/base/failure.ts";
import { UNLIMITED } from "../../../src/gateway/channel-policy.ts";
import type { PageSources } from "../../../src/gateway/page/contract.ts";
import type {
  GatewayStatus,
  StatusHistogram,
  StatusMinute,
  StatusRequest,
} from "../../../src/gateway/statistics/contract.ts";

/** Text that would do harm if a page showed it as HTML. */
export const HARMFUL = `<img src=x onerror="document.title='run'">'"&</script><script>document.title='run'</script>`;

const NO_TIMES: StatusHistogram = { bounds: [], counts: [0], sum: 0 };

/** The status of a gateway that has answered thousands of requests. */
export function busyStatus(harm = "", now = Date.now()): GatewayStatus {
  return {
    v: 1,
    type: "status",
    state: "ready",
    version: "0.1.0",
    pid: 4711,
    instance: "8f14e45fceea",
    since: new Date(now - 93_784_000).toISOString(),
    uptime_s: 93_784,
    channels: [
      {
        name: "mqtt",
        agent_id: "assistant",
        topic_prefix: "/picoclaw",
        broker: ["ssl://broker.example:8883"],
        qos: 1,
        connected: true,
        sessions_lost: 0,
        messages_dropped: 0,
        other_gateways: 0,
      },
      {
        name: "workshop",
        agent_id: "assistant",
        topic_prefix: "/picoclaw",
        broker: ["tcp://10.0.0.7:1883"],
        qos: 0,
        connected: false,
        problem: "the broker refused the connection",
        sessions_lost: 1,
        messages_dropped: 12,
        other_gateways: 0,
      },
    ],
    agent: { model: "claude-haiku", provider: "anthropic" },
    queue: { running: 3, slots: 8, waiting: 2, in_flight: 5 },
    memory: { resident_bytes: 71_303_168, heap_bytes: 31_457_280 },
    usage: {
      gateway: { requests: 10_000, tokens: 1_834_000, cost: 4.37, rejected: {}, limits: UNLIMITED },
      channels: [],
    },
    clients: [...CLIENTS, ...(harm === "" ? [] : [harm])].map((client, index) => ({
      channel: "mqtt",
      client,
      requests: 4000 - index * 513,
      tokens: 730_000 - index * 101_000,
      cost: 1.9 - index * 0.26,
    })),
    requests: [],
    models: [],
    tools: [],
    store: { commit_seconds: NO_TIMES },
    minutes: Array.from({ length: 58 }, (_each, index) => minute(now, index)),
    recent: Array.from({ length: 100 }, (_each, index) => request(now, index, harm)),
  };
}

const CLIENTS = ["kitchen-panel", "greenhouse-3", "door:front", "a4:cf:12:6b:00:91", "node-red"];
const TOOLS = [["exec"], [], ["read_file", "read_file", "exec"], ["web_fetch"], [], ["remember"]];

function minute(now: number, index: number): StatusMinute {
  const start = Math.floor(now / 60_000) * 60_000;
  const requests = Math.round(12 + 9 * Math.sin(index / 6) + ((index * 7) % 5));
  const first = Math.round(420 + 160 * Math.sin(index / 9) + ((index * 37) % 90));
  return {
    at: new Date(start - (57 - index) * 60_000).toISOString(),
    requests,
    failed: index % 13 === 5 ? 3 : 0,
    tokens: requests * 183,
    first_ms: first,
    first_ms_most: first * 2,
    answer_ms: first * 3 + ((index * 53) % 400),
    answer_ms_most: first * 7,
  };
}

function request(now: number, index: number, harm: string): StatusRequest {
  const outcome = index === 4 ? "busy" : index === 11 ? "model" : "ok";
  const ms = 900 + ((index * 617) % 2900);
  const facts = {
    number: 10_000 - index,
    at: new Date(now - index * 4700 - 1200).toISOString(),
    channel: "mqtt",
    client: CLIENTS[(index * 3) % CLIENTS.length] ?? "",
    id: `r-${10_000 - index}`,
    outcome,
  };
  if (outcome === "busy") return { ...facts, message: "too many requests of this client wait" };
  return {
    ...facts,
    queued_ms: index % 6 === 0 ? 240 : 2,
    first_ms: Math.round(ms / 3),
    ms,
    ...(outcome === "ok"
      ? { tokens_in: 160 + index * 3, tokens_out: 23 + index, cost: 0.000_41 + index / 1e5 }
      : { message: "the model could not be reached" }),
    tools: (TOOLS[index % TOOLS.length] ?? []).map((name) => ({
      name,
      verdict: index % 12 === 3 ? "refused" : "ok",
      ms: 12,
    })),
    ...(index < 2 && {
      question: `How warm is it in the greenhouse?${harm}`,
      answer: `It is 21.5 °C in the greenhouse.${harm}`,
    }),
  };
}

/** What a page shows in tests, with `harm` in every text. A question with the word "fail" fails. */
export function exampleSources(harm = ""): PageSources {
  return {
    status: () => Promise.resolve(busyStatus(harm)),
    conversations: () =>
      Promise.resolve(
        CLIENTS.map((client, index) => ({
          name: `mqtt/${client}`,
          client,
          channel: "mqtt",
          turns: 40 - index,
          lastAt: Date.now() - index * 9_700_000,
        })),
      ),
    conversation: (name) =>
      Promise.resolve(
        name.startsWith("mqtt/")
          ? {
              client: name.slice(5),
              messages: [
                { from: "client", text: `How warm is it?${harm}`, at: Date.now() - 60_000 },
                { from: "tool", tool: "exec", text: `21.5${harm}` },
                { from: "agent", text: "It is 21.5 °C in the greenhouse.\n\nThe window is open." },
              ],
            }
          : undefined,
      ),
    async *ask({ text }) {
      yield { text: "You asked: " };
      if (text.includes("fail")) throw new Failure("unserved", "nobody serves this agent id");
      await Promise.resolve();
      yield { text };
    },
    checks: () =>
      Promise.resolve([
        { result: "ok", message: "the configuration is valid" },
        {
          result: "ok",
          message: "mqtt: connected to ssl://broker.example:8883, and its echo came in 4 ms",
        },
        {
          result: "warn",
          message: `the certificate of the broker ends in 9 days${harm}`,
          remedy: "renew the certificate on the broker",
        },
        {
          result: "fail",
          message: "workshop: the broker refused the connection",
          remedy: "systemctl start mosquitto",
        },
        { result: "skip", message: "PostgreSQL is not used" },
      ]),
    settings: () =>
      Promise.resolve([
        {
          key: "channel_list.mqtt.settings.broker",
          value: '["ssl://broker.example:8883"]',
          origin: "config.json:7",
        },
        { key: "channel_list.mqtt.settings.password", value: "(secret)", origin: ".security.yml" },
        { key: "gateway.port", value: "18790", origin: "default" },
        {
          key: "model_list[0].model",
          value: JSON.stringify(`claude-haiku${harm}`),
          origin: "config.json:19",
        },
      ]),
  };
}
