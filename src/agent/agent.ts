import { Lazy, pause } from "../base/async.ts";
import { commandIn } from "../base/command.ts";
import { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { createRedactor, redactFailure } from "../base/redaction/redactor.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import type { AgentDefaults, Config } from "../config/contract.ts";
import { maskedIn, secretsIn } from "../config/secrets.ts";
import type { Confirmations } from "./access/confirmations.ts";
import { createPermissions, mayClientsRun } from "./access/permissions.ts";
import type { Caller, PermissionsOf } from "./access/permissions.ts";
import type { Commands } from "./commands/commands.ts";
import type { Answerer, Turn, Message, Turned } from "./contract.ts";
import type { Device } from "./device/contract.ts";
import type { DeviceHistory } from "./device/history.ts";
import type { OfflineOptions } from "./fallback/offline-agent.ts";
import { offlineTools } from "./fallback/offline-tools.ts";
import type { ToolHooks } from "./hooks/contract.ts";
import type { ModelAgent, ModelAgentOptions } from "./model-agent.ts";
import type { ModelName } from "./model/candidate.ts";
import type { Fetch } from "./model/contract.ts";
import type { LearnedStore } from "./model/memory.ts";
import type { Agents } from "./tools/ask-agent.ts";
import { configuredClientTools, configuredHomeTools } from "./tools/client-tools.ts";
import type { Tool } from "./tools/contract.ts";
import type { Jobs } from "./tools/cron.ts";
import { createDeviceTool } from "./tools/device.ts";
import type { DirectTools, DirectToolsOptions } from "./tools/direct-tools.ts";
import type { RunCommand } from "./tools/exec/scheduled-command.ts";
import type { HomeDevices } from "./tools/home/contract.ts";
import type { Learn, McpDocuments } from "./tools/mcp/contract.ts";
import type { Outbox } from "./tools/message.ts";
import type { Topics } from "./tools/mqtt.ts";
import { createSecretFilter } from "./tools/run.ts";
import type { Compact, CompactableSize } from "./turn/compaction.ts";
import type { AgentCluster } from "./workspace/contract.ts";

export interface AgentOptions {
  readonly config: Pick<Config, "agents" | "model_list" | "tools" | "channels" | "hooks">;
  readonly log: Log;
  /** Redacts everything that leaves the agent; redacts the secrets of `config` if left out. */
  readonly redactor?: Redactor;
  /** The program's own folder, with the skills for every workspace; the workspace's parent if left out. */
  readonly home?: string;
  /** The configuration file; no tool may read it. */
  readonly configFile?: string;
  /** Other files with secrets; no tool may read them. */
  readonly secretFiles?: readonly string[];
  /** The topics on the brokers of the channels, if there are channels. */
  readonly topics?: Topics;
  /** The other agents at the brokers of the channels, if there are channels. */
  readonly agents?: Agents;
  /** Where calls wait that a person has to allow, if there are channels. */
  readonly confirmations?: Confirmations | undefined;
  /** The devices on those brokers. */
  readonly homeDevices?: HomeDevices;
  /** Takes messages for clients, if there are channels. */
  readonly outbox?: Outbox | undefined;
  /** The jobs of clients; absent if nobody does them. */
  readonly jobs?: Jobs | undefined;
  /** What `/status` says of the channels; nothing if left out. */
  readonly channelStatus?: () => readonly string[];
  /** Past measurements of the device; the caller closes it. */
  readonly history?: DeviceHistory;
  /** Reads the configuration again, for `/reload`; returns a message about the result. */
  readonly reload?: () => Promise<string>;
  /** Keeps what is learned about models; in memory only if left out. */
  readonly learned?: LearnedStore | undefined;
  /** Keeps what is known of MCP servers; in memory only if left out. */
  readonly mcpDocuments?: McpDocuments | undefined;
  /** The runtime's own if left out. */
  readonly fetch?: Fetch;
  /** Absent if its gateway is alone. */
  readonly cluster?: AgentCluster | undefined;
  /** The folder that contains `proc`, `sys` and `etc`; `/` if left out. */
  readonly root?: string;
}

export interface Agent {
  readonly answer: Answerer;
  /** The model that answers now; undefined if none can be used. */
  readonly model: () => ModelName | undefined;
  /** Summarizes a conversation that is too long; absent without a model. */
  readonly compact?: Compact | undefined;
  /** Runs a command of a job. */
  readonly runCommand: RunCommand;
  /** Calls of tools that clients make by themselves. */
  readonly direct: () => Promise<DirectTools>;
  /** Loads the code of a turn before the first one needs it. */
  load(): Promise<void>;
  /** Ends commands and tasks that run in the background. */
  close(): Promise<void>;
}

/**
 * Opens the configured agent: one with a model, or the offline agent if no entry of `model_list` can be
 * used. Loads only the code of that one, with `load` or the first turn, and sends nothing before that.
 * Throws a `Failure` of code `config` if the named model cannot work.
 */
export async function openAgent(given: AgentOptions): Promise<Agent> {
  const { cluster } = given;
  const config = withoutForeignTools(given.config, cluster);
  const asksPersons = config.tools.profiles.some(({ confirm }) => confirm.by.length > 0);
  const confirmations = asksPersons ? given.confirmations : undefined;
  const options = { ...given, config, confirmations };
  const device: Device = {
    root: options.root ?? "/",
    workspace: config.agents.defaults.workspace,
    now: () => new Date(),
    pause,
  };
  const deviceTool = createDeviceTool(device, options.history, cluster?.gateway);
  const { turn_profile: turnProfile } = config.agents.defaults;
  const permissionsOf = await configuredPermissions(config);
  const models = await configuredModels(options);
  const fetch = options.fetch ?? globalThis.fetch;
  const redactor = options.redactor ?? createRedactor(maskedIn(config));
  const hooks = await configuredHooks(options, redactor);
  const tools = { deviceTool, homeTools: await configuredHomeTools(options), hooks };
  const parts = { ...options, ...tools, fetch, models, permissionsOf, redactor };
  const agent = models && new Lazy(() => loadModelAgent({ ...parts, models }));
  const offline = offlineTools({ ...parts, log: options.log });
  const body = agent ?? new Lazy(() => loadOffline({ ...offline, permissionsOf }));
  const commanded = withCommands(answerWith(body), async () => {
    const { openCommands } = await import("./commands/commands.ts");
    const loaded = await agent?.load();
    return openCommands({ ...options, deviceTool, permissionsOf, models, agent: loaded });
  });
  const toolsFor = async (caller: Caller): Promise<readonly Tool[]> =>
    (await agent?.load())?.tools(caller) ?? [deviceTool, ...(tools.homeTools ?? [])];
  const direct = new Lazy(() => loadDirectTools({ ...parts, toolsFor }));
  const answer = turnProfile?.history === "off" ? withoutHistory(commanded) : commanded;
  return {
    answer: withLimit(redactedAnswerer(answer, redactor)),
    model: () => models?.current(),
    compact:
      agent && isEverTooLong(config.agents.defaults)
        ? redactedCompact(compactWith(agent), redactor)
        : undefined,
    runCommand: runCommandWith(agent, redactor),
    direct: () => direct.load(),
    async load() {
      await body.load();
    },
    async close() {
      const loaded = await agent?.loading?.catch(() => undefined);
      await loaded?.close();
      await hooks?.close();
      await models?.close();
    },
  };
}

async function configuredPermissions(config: AgentOptions["config"]): Promise<PermissionsOf> {
  const { workspace, turn_profile: turnProfile } = config.agents.defaults;
  const isSandboxed = await areClientsSandboxed(config);
  return createPermissions({ tools: config.tools, workspace, turnProfile, isSandboxed });
}

/** Cuts an answer that has a limit; JSON would be broken by that. */
function withLimit(answerer: Answerer): Answerer {
  const answerWithin = async function* answer(turn: Turn, most: number) {
    const { limited } = await import("./turn/char-limit.ts");
    return yield* limited(answerer(turn), most);
  };
  return (turn) =>
    turn.maxChars === undefined || turn.format !== undefined
      ? answerer(turn)
      : answerWithin(turn, turn.maxChars);
}

/** Tools that reach into one machine, so that with several gateways it matters on which of them they run. */
const MACHINE_TOOLS = [
  "exec",
  "append_file",
  "edit_file",
  "list_dir",
  "load_image",
  "read_file",
  "write_file",
];

/** Switches those off, unless `tools.exec.pin` names this gateway, or there is no other. */
function withoutForeignTools(
  config: AgentOptions["config"],
  cluster: AgentCluster | undefined,
): AgentOptions["config"] {
  const { tools } = config;
  const { gateway } = cluster ?? {};
  if (gateway === undefined || tools.exec.pin === gateway) return config;
  return { ...config, tools: { ...tools, off: new Set([...tools.off, ...MACHINE_TOOLS]) } };
}

async function areClientsSandboxed(config: AgentOptions["config"]): Promise<boolean> {
  if (!mayClientsRun(config.tools)) return true;
  // The search for the sandbox starts two processes.
  const { clientsAreSandboxed } = await import("./tools/exec/sandbox/check.ts");
  return clientsAreSandboxed(config);
}

/** Answers with an agent that the first turn loads. */
function answerWith(body: Lazy<{ readonly answer: Answerer }>): Answerer {
  const answerLoading = async function* answer(turn: Turn) {
    const { answer: answerNow } = await body.load();
    return yield* answerNow(turn);
  };
  return (turn) => body.value?.answer(turn) ?? answerLoading(turn);
}

function compactWith(agent: Lazy<ModelAgent>): Compact {
  const compact: Compact = async (...args) => (await agent.load()).compact(...args);
  return Object.assign(compact, {
    isDue: (size: CompactableSize) => agent.value?.compact.isDue?.(size) ?? true,
  });
}

function runCommandWith(agent: Lazy<ModelAgent> | undefined, redactor: Redactor): RunCommand {
  return async (scheduled) => {
    if (agent === undefined) throw new Failure("failed", "commands are run only with a model");
    const output = await (await agent.load()).runCommand(scheduled);
    return output && redactor.redact(output);
  };
}

/** Whether the configuration has conversations summarized at all. */
function isEverTooLong(defaults: AgentDefaults): boolean {
  if (defaults.turn_profile?.history === "off") return false;
  return defaults.summarize_message_threshold > 0 || defaults.summarize_token_percent > 0;
}

/** Turns without a history, whose messages are not stored. */
function withoutHistory(body: Answerer): Answerer {
  return async function* answer(turn) {
    const turned = yield* body({ ...turn, history: () => Promise.resolve([]) });
    return { ...turned, messages: [] };
  };
}

/** Answers commands before the agent does; loads their code with the first command. */
function withCommands(body: Answerer, load: () => Promise<Commands>): Answerer {
  const commands = new Lazy(load);
  const answerWhen = async function* answer(loading: Promise<Commands>, turn: Turn) {
    const loaded = await loading;
    return yield* loaded.answer(turn) ?? body(turn);
  };
  return (turn) => {
    const loading = commandIn(turn.text) === undefined ? commands.loading : commands.load();
    if (loading === undefined) return body(turn);
    return commands.value === undefined
      ? answerWhen(loading, turn)
      : (commands.value.answer(turn) ?? body(turn));
  };
}

async function configuredModels({ config, log, learned, fetch = globalThis.fetch }: AgentOptions) {
  if (config.model_list.length === 0 && config.agents.defaults.model_name === "") return undefined;
  const { openModels } = await import("./model/models.ts");
  return openModels({ config, fetch, log, learned });
}

async function configuredHooks(
  { config, log }: AgentOptions,
  redactor: Redactor,
): Promise<ToolHooks | undefined> {
  const { hooks: settings, tools } = config;
  if (settings === undefined) return undefined;
  const { createToolHooks } = await import("./hooks/hooks.ts");
  const { workspace } = config.agents.defaults;
  return createToolHooks({ settings, workspace, filter: createSecretFilter(redactor, tools), log });
}

type LoadOptions = Omit<ModelAgentOptions, "workspace"> &
  Pick<AgentOptions, "home" | "cluster" | "outbox" | "jobs" | "mcpDocuments">;

async function loadModelAgent(options: LoadOptions): Promise<ModelAgent> {
  const [{ openModelAgent }, { workspaceOf }] = await Promise.all([
    import("./model-agent.ts"),
    import("./workspace/workspace.ts"),
    // The first prompt depends on the window.
    options.models.load(),
  ]);
  const mcp = await configuredMcp(options);
  const clientTools = await configuredClientTools(options);
  return openModelAgent({ ...options, workspace: workspaceOf(options), clientTools, mcp });
}

/** The servers of the Model Context Protocol, which are connected from now on. */
async function configuredMcp({
  config,
  fetch,
  log,
  redactor,
  mcpDocuments: documents = memoryDocuments(),
}: Pick<ModelAgentOptions, "config" | "fetch" | "log" | "redactor"> &
  Pick<AgentOptions, "mcpDocuments">) {
  const { mcp: settings } = config.tools;
  if (settings === undefined) return undefined;
  const [{ openMcp }, { createLeakWatch }] = await Promise.all([
    import("./tools/mcp/mcp.ts"),
    import("./tools/web/secret-leak.ts"),
  ]);
  const { workspace } = config.agents.defaults;
  const holdsSecret = createLeakWatch(secretsIn(config));
  const learn: Learn = (secrets, name) => redactor.add(secrets, name);
  return openMcp({ settings, workspace, fetch, log, documents, holdsSecret, learn });
}

function memoryDocuments(): McpDocuments {
  const documents = new Map<string, object>();
  return {
    read: (name) => Promise.resolve(documents.get(name)),
    write: async (name, document) => void documents.set(name, document),
    remove: async (name) => void documents.delete(name),
  };
}

async function loadDirectTools(options: DirectToolsOptions): Promise<DirectTools> {
  const { createDirectTools } = await import("./tools/direct-tools.ts");
  return createDirectTools(options);
}

async function loadOffline(options: OfflineOptions): Promise<{ readonly answer: Answerer }> {
  const { createOfflineAgent } = await import("./fallback/offline-agent.ts");
  return { answer: createOfflineAgent(options) };
}

/**
 * The same answers with all secrets masked: in the stream, in the messages to store, and in the texts of
 * a failure. Pieces are cut elsewhere if their end may still become a secret. The user's text is unchanged.
 */
export function redactedAnswerer(answer: Answerer, redactor: Redactor): Answerer {
  return async function* redacted(turn: Turn): AsyncGenerator<string, Turned> {
    const { record } = turn;
    const masked = (message: Message): Message => redactedMessage(message, redactor);
    const source = answer({
      ...turn,
      ...(record && { record: (message: Message) => record(masked(message)) }),
    });
    const stream = redactor.stream();
    let isDone = false;
    try {
      for (;;) {
        const step = await source.next().catch((thrown: unknown) => ({ thrown }));
        isDone = "thrown" in step || step.done === true;
        const isPiece = "value" in step && step.done !== true;
        const text = isPiece ? stream.push(step.value) : stream.end();
        if (text !== "" && !turn.signal.aborted) yield text;
        if ("thrown" in step) throw redactFailure(step.thrown, redactor);
        if (step.done === true) return { ...step.value, messages: step.value.messages.map(masked) };
      }
    } finally {
      // A reader that leaves in the middle, or throws into this generator, ends the source as well.
      if (!isDone) await source.return({ messages: [] });
    }
  };
}

/** Redacts the secrets in summaries. */
export function redactedCompact(compact: Compact, redactor: Redactor): Compact {
  const redacted: Compact = async (...args) => {
    const compaction = await compact(...args);
    return compaction && { ...compaction, summary: redactedMessage(compaction.summary, redactor) };
  };
  return Object.assign(redacted, compact.isDue && { isDue: compact.isDue });
}

/** Names and ids of tool calls are the model's text as well. */
function redactedMessage(message: Message, redactor: Redactor): Message {
  if (message.role === "user") {
    const { preface } = message;
    return preface === undefined ? message : { ...message, preface: redactor.redact(preface) };
  }
  const text = redactor.redact(message.text);
  if (message.role === "tool") {
    return {
      ...message,
      text,
      name: redactor.redact(message.name),
      callId: redactor.redact(message.callId),
    };
  }
  if (message.role !== "assistant" || message.toolCalls === undefined) return { ...message, text };
  const toolCalls = message.toolCalls.map((call) => ({
    ...call,
    id: redactor.redact(call.id),
    name: redactor.redact(call.name),
    arguments: redactor.redact(call.arguments),
  }));
  return { ...message, text, toolCalls };
}
