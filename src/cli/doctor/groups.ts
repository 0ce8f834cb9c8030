import type { Learn } from "../../agent/tools/mcp/contract.ts";
import type { Check, Diagnosis, PostgresAddress } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { authorityOf } from "../../base/url.ts";
import { parseBroker } from "../../config/broker.ts";
import type { Config, McpServerSettings, MqttChannel } from "../../config/contract.ts";
import type { ClusterGateway } from "../../store/contract/cluster.ts";
import { coded, runChecks } from "../checks/checks.ts";
import { httpClientChecks } from "../checks/http-clients.ts";
import { portCheck } from "../checks/port.ts";
import { serviceChecks } from "../checks/service.ts";
import { stateChecks } from "../checks/state.ts";
import type { SharedFacts } from "../state/shared-state.ts";
import { mcpDocumentsIn, stateFolderOf } from "../state/state-folder.ts";
import { isBuiltIn } from "../state/state.ts";

/** What is examined. */
export interface Subject {
  readonly config: Config;
  readonly home: string;
  readonly configFile: string;
  readonly secretFiles: readonly string[];
  /** Where `/health` and the page listen. */
  readonly http: { readonly host: string; readonly port: number };
  readonly connectTimeoutMs: number;
  /** Whether the model is called. */
  readonly asksModel: boolean;
  /** Whether brokers are asked how much they queue. */
  readonly measuresQueue: boolean;
  /** The folder of the user's units of systemd. */
  readonly unitFolder: string;
  /** "" if the machine does not know it. */
  readonly user: string;
  readonly log: Log;
  readonly redactor: Redactor;
  readonly signal: AbortSignal;
}

/** Checks that are made one after the other, under one deadline. */
export interface Group {
  /** Of the line that says why they could not be made. */
  readonly code: string;
  readonly name: string;
  readonly run: (signal: AbortSignal) => Promise<readonly Diagnosis[]>;
}

/** All that needs a configuration, in the order of the report. */
export function groupsOf(subject: Subject): readonly Group[] {
  const { config } = subject;
  const { gateway, channels } = config;
  const shared = gateway.store && sharedFactsOf(config, gateway.store);
  return [
    { code: "state.write", name: "state folder", run: () => stateChecks(stateFolderOf(config)) },
    {
      code: "http.port",
      name: "port",
      run: async () => [
        await portCheck(subject.http.host, subject.http.port),
        ...httpClientChecks(config, subject.http.host),
      ],
    },
    { code: "agent", name: "agent", run: () => agentChecks(subject) },
    ...channels.map((channel) => channelGroup(channel, subject, shared)),
    ...(config.tools.mcp?.servers ?? []).map((server) => mcpGroup(server, subject)),
    ...confirmGroups(config),
    { code: "checks", name: "settings", run: () => settingChecks(subject) },
    { code: "certificate", name: "certificates", run: () => termChecks(channels) },
    { code: "model.call", name: "model", run: (signal) => modelChecks(subject, signal) },
    {
      code: "service.unit",
      name: "service",
      run: () => serviceChecks(subject.unitFolder, subject.user),
    },
    { code: "usage.today", name: "usage", run: () => todayChecks(subject, shared) },
  ];
}

async function agentChecks({ config, log, redactor }: Subject): Promise<readonly Diagnosis[]> {
  const { openAgent } = await import("../../agent/agent.ts");
  await (await openAgent({ config, log, redactor })).close();
  return [];
}

async function settingChecks({ config, ...more }: Subject): Promise<readonly Diagnosis[]> {
  return runChecks({ ...more, config, channels: config.channels });
}

async function termChecks(channels: readonly MqttChannel[]): Promise<readonly Diagnosis[]> {
  const { certificateChecks } = await import("../../mqtt/checks/tls.ts");
  const terms = await Promise.all(channels.map((channel) => certificateChecks(channel)));
  return coded("certificate", terms.flat());
}

async function modelChecks(
  { config, asksModel }: Subject,
  signal: AbortSignal,
): Promise<readonly Diagnosis[]> {
  if (!asksModel) {
    return [{ code: "model.call", name: "model", result: "skip", message: "--offline was given" }];
  }
  const { modelCallChecks } = await import("../../agent/model-check.ts");
  return modelCallChecks({ config, signal });
}

/** A server of the Model Context Protocol. */
function mcpGroup(settings: McpServerSettings, { config, log, redactor }: Subject): Group {
  const { workspace } = config.agents.defaults;
  const documents = mcpDocumentsIn(config);
  const learn: Learn = (secrets, name) => redactor.add(secrets, name);
  return {
    code: "mcp.server",
    name: `MCP server ${settings.name}`,
    async run(signal) {
      const { serverCheck } = await import("../../agent/tools/mcp/probe.ts");
      const options = { settings, workspace, documents, log, learn, signal };
      return coded("mcp.server", [await serverCheck(options)]);
    },
  };
}

/** The clients that have to allow calls, if any. */
function confirmGroups(config: Config): readonly Group[] {
  if (!config.tools.profiles.some(({ confirm }) => confirm.by.length > 0)) return [];
  const run = async (): Promise<readonly Diagnosis[]> => {
    const { confirmChecks } = await import("../checks/confirm.ts");
    return confirmChecks(config);
  };
  return [{ code: "access.confirm", name: "confirmations", run }];
}

type Shared = Promise<SharedFacts | Check> | undefined;

async function sharedFactsOf(config: Config, store: PostgresAddress): Promise<SharedFacts | Check> {
  const { sharedFacts } = await import("../checks/usage.ts");
  return sharedFacts(config, store);
}

async function todayChecks(
  { config, home }: Subject,
  shared: Shared,
): Promise<readonly Diagnosis[]> {
  const { usageChecks } = await import("../checks/usage.ts");
  const checks = await usageChecks({ config, home }, await shared);
  return checks.flatMap((check) => coded(check.code ?? "usage.today", [check]));
}

/** The broker of a channel, and who else serves there. */
function channelGroup(channel: MqttChannel, subject: Subject, shared: Shared): Group {
  const { name } = channel;
  return {
    code: "broker.connect",
    name,
    async run(signal) {
      const { config, connectTimeoutMs, measuresQueue, log } = subject;
      const [{ brokerChecks }, { presenceChecks }] = await Promise.all([
        import("../../mqtt/checks/broker.ts"),
        import("../checks/presence.ts"),
      ]);
      const { dialled, isTaken, close } = await openBuiltIn(channel, log);
      try {
        const options = { connectTimeoutMs, log, signal };
        const [broker, presence] = await Promise.all([
          brokerChecks({ ...options, measuresQueue, channel: dialled }),
          clusterOf(shared).then((cluster) =>
            presenceChecks({ ...options, config, channel: dialled, cluster }),
          ),
        ]);
        const isConnected = broker.some(
          ({ code, result }) => code === "broker.connect" && result !== "fail",
        );
        const { partChecks } = await import("../checks/parts.ts");
        const parts = isConnected ? await partChecks({ ...options, config, channel: dialled }) : [];
        return [...takenChecks(isTaken, presence), ...broker, ...parts, ...presence];
      } finally {
        await close();
      }
    },
  };
}

/** The gateways that share the store, as far as they are known. */
async function clusterOf(shared: Shared): Promise<readonly ClusterGateway[]> {
  const facts = await shared;
  return facts !== undefined && "gateways" in facts ? facts.gateways : [];
}

/** The port of the built-in broker is taken, as it should be, where a gateway of this home runs it. */
function takenChecks(
  isTaken: readonly Diagnosis[],
  presence: readonly Diagnosis[],
): readonly Diagnosis[] {
  const isOwn = presence.some(({ code }) => code === "gateway.home");
  if (!isOwn) return isTaken;
  const message = "a gateway of this home runs it";
  return isTaken.map(({ code, name }) => ({ code, name, result: "ok", message }));
}

/** Starts the built-in broker of a channel, for as long as it is checked. */
async function openBuiltIn(channel: MqttChannel, log: Log) {
  const nothing = { dialled: channel, isTaken: [], close: () => Promise.resolve() };
  if (!isBuiltIn(channel.settings)) return nothing;
  const { withBrokers } = await import("../runtime/built-in-brokers.ts");
  try {
    const { channels, brokers } = await withBrokers([channel], log);
    const close = async (): Promise<void> => {
      await Promise.all(brokers.map((broker) => broker.close()));
    };
    return { dialled: channels[0] ?? channel, isTaken: [], close };
  } catch (thrown) {
    const failure = asFailure(thrown);
    const { message, why = "", remedy = "stop it, or choose another port" } = failure;
    const text = why === "" ? message : `${message}: ${why}`;
    const isTaken = [
      {
        code: "broker.builtin",
        name: channel.name,
        result: "fail",
        message: text,
        remedy,
        failure,
      },
    ] as const;
    return { ...nothing, dialled: asClient(channel), isTaken };
  }
}

/** The channel as a client of whatever listens in the place of the built-in broker. */
function asClient(channel: MqttChannel): MqttChannel {
  const address = parseBroker(channel.settings.broker.join());
  if (address.kind !== "embedded") return channel;
  const { host, port } = address;
  const broker = [`tcp://${authorityOf(host, port)}`];
  return { ...channel, settings: { ...channel.settings, broker } };
}
