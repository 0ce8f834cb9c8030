import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import { connectAsync, type IClientOptions, type IPublishPacket, type MqttClient } from "mqtt";
import type { Config, MqttChannel, MqttSettings } from "../../src/config/contract.ts";
import { openChannel } from "../../src/mqtt/agent-channel/channel.ts";
import type { Channel, ChannelOptions, ChannelRequest } from "../../src/mqtt/contract.ts";
import { createMemoryLog, type MemoryLog } from "./memory-log.ts";
import { startMosquitto, type Mosquitto } from "./mosquitto.ts";
import { until } from "./until.ts";

/** Limits that are none. */
export const NO_LIMITS = {
  requests_per_minute: 0,
  burst: 0,
  queued: 0,
  tokens_per_day: 0,
  cost_per_day: 0,
  tool_calls_per_turn: 0,
};

/** The `gateway` of a configuration for a runtime in this process. */
export const QUIET_GATEWAY: Config["gateway"] = {
  host: "localhost",
  port: 0,
  log_level: "warn",
  dedupe_window_secs: 1,
  exclusive: false,
  ignore_unsupported: [],
  page: { enabled: false },
  tokens: {},
  mcp: { enabled: false, channel: "" },
  ollama: { enabled: false, channel: "" },
  limits: NO_LIMITS,
};

/** A channel's configuration as the loader would fill it in, but for what is said here. */
export function channelFor(
  broker: string | readonly string[],
  settings: Partial<MqttSettings> = {},
): MqttChannel {
  return {
    name: "mqtt",
    allow_from: [],
    deny_from: [],
    admin_from: [],
    settings: {
      broker: typeof broker === "string" ? [broker] : broker,
      agent_id: "edge",
      topic_prefix: "/picoclaw",
      client_id: "",
      keep_alive: 60,
      qos: 0,
      protocol_version: "auto",
      tls: { verify: false },
      streaming: { enabled: true, interval_ms: 250, progress_secs: 0 },
      max_hops: 2,
      a2a: {
        enabled: false,
        org: "",
        unit: "",
        agent: "",
        name: "",
        description: "",
        verified_requesters: false,
      },
      mcp: { enabled: false, server_id: "", server_name: "", description: "" },
      plain_text: false,
      accept: "application/json",
      clients: [],
      max_chars: 0,
      max_message_bytes: 0,
      max_payload_bytes: 262_144,
      session_expiry_secs: 3600,
      probe_secs: 0,
      homeassistant: { enabled: false, discovery_prefix: "homeassistant" },
      limits: { ...NO_LIMITS, total: NO_LIMITS },
      ...settings,
    },
  };
}

export interface TestChannel extends AsyncDisposable {
  readonly channel: Channel;
  readonly requests: readonly ChannelRequest[];
  readonly log: MemoryLog;
  ready(): Promise<{ readonly protocol: 4 | 5 }>;
  /** The n-th request from 0 on, once it is there. */
  request(index?: number): Promise<ChannelRequest>;
}

type TestChannelOptions = Partial<Omit<ChannelOptions, "channel" | "log" | "onRequest">> & {
  readonly onRequest?: (request: ChannelRequest) => Promise<void> | void;
  readonly settings?: Partial<MqttSettings>;
  /** Keeps no requests. */
  readonly discards?: boolean;
};

/** A channel that keeps its requests, or, where told, does what it is told with them. */
export function openTestChannel(
  broker: string | readonly string[],
  options: TestChannelOptions = {},
): TestChannel {
  const requests: ChannelRequest[] = [];
  const log = createMemoryLog();
  const { settings, discards = false, ...rest } = options;
  const channel = openChannel({
    connectTimeoutMs: 5_000,
    info: { version: "0.0.0-test", instance: "here" },
    ...rest,
    channel: channelFor(broker, settings),
    log,
    onRequest(request) {
      if (!discards) requests.push(request);
      return options.onRequest?.(request) ?? Promise.resolve();
    },
  });
  return {
    channel,
    requests,
    log,
    ready: () => channel.ready(AbortSignal.timeout(10_000)),
    request: (index = 0) => requestAt(index, requests, log),
    [Symbol.asyncDispose]: () => channel.close(),
  };
}

/** The n-th request from 0 on, once it is there. */
export async function requestAt(
  index: number,
  requests: readonly ChannelRequest[],
  log: MemoryLog,
): Promise<ChannelRequest> {
  await until(`request ${index} arrives; ${log.text()}`, () => requests.length > index);
  const request = requests[index];
  if (!request) throw new Error(`no request ${index}`);
  return request;
}

/** Answers a rejected request with its error, as a gateway does. */
export async function reject(request: ChannelRequest): Promise<void> {
  const { rejected } = request;
  if (rejected === undefined) return;
  await request.reply({ text: rejected.message, error: rejected, done: true });
}

/** Answers every request with these words, part by part. */
export function answering(...words: readonly string[]): (request: ChannelRequest) => void {
  return (request) => {
    if (request.rejected !== undefined) {
      void reject(request).catch(() => {});
      return;
    }
    void (async () => {
      for (const [index, text] of words.entries()) {
        await request.reply({ text, ...(index === words.length - 1 && { done: true }) });
      }
    })().catch(() => {});
  };
}

export interface TestDevice extends AsyncDisposable {
  readonly client: MqttClient;
  readonly messages: readonly IPublishPacket[];
  readonly texts: () => string[];
  /** The n-th message from 0 on, once it is there. */
  message(index?: number): Promise<IPublishPacket>;
}

/** Somebody else's MQTT client, subscribed to `filter`. */
export async function openTestDevice(
  broker: string,
  filter: string,
  options: IClientOptions = {},
): Promise<TestDevice> {
  const messages: IPublishPacket[] = [];
  const client = await connectAsync(broker, {
    protocolVersion: 5,
    reconnectPeriod: 200,
    ...options,
  });
  client.on("error", () => {});
  client.on("message", (_topic, _payload, packet) => messages.push(packet));
  await client.subscribeAsync(filter, { qos: 1 });
  return {
    client,
    messages,
    texts: () => messages.map(({ payload }) => String(payload)),
    async message(index = 0) {
      await until(`message ${index} arrives on ${filter}`, () => messages.length > index);
      const message = messages[index];
      if (!message) throw new Error(`no message ${index}`);
      return message;
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
    },
  };
}

const execute = promisify(execFile);

/** Runs a program to its end and gives what it printed. */
export async function run(program: string, ...words: readonly string[]): Promise<string> {
  const { stdout } = await execute(program, [...words], { timeout: 20_000 });
  return stdout;
}

/** A line-printing program in the background, such as mosquitto_sub. */
export function follow(program: string, ...words: readonly string[]) {
  const child = spawn(program, [...words], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (data) => {
    output += String(data);
  });
  return {
    lines: () => output.split("\n").filter((line) => line !== ""),
    async [Symbol.asyncDispose]() {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await gone;
    },
  };
}

export interface TestSetup extends AsyncDisposable {
  readonly broker: Mosquitto;
  readonly asked: TestChannel;
  /** Subscribed to the responses of client `c1`. */
  readonly device: TestDevice;
}

/** A mosquitto, a channel that is ready on it, and a device. */
export async function openTestSetup(options: TestChannelOptions = {}): Promise<TestSetup> {
  const broker = await startMosquitto();
  const asked = openTestChannel(broker.url, options);
  await asked.ready();
  const device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
  return {
    broker,
    asked,
    device,
    async [Symbol.asyncDispose]() {
      await device[Symbol.asyncDispose]();
      await asked[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}

/** What the broker keeps under a topic, as one who comes now reads it. */
export async function retained(broker: Mosquitto, topic: string): Promise<string> {
  await using device = await openTestDevice(broker.url, topic);
  return String((await device.message()).payload);
}
