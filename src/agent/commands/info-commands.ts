import { firstSentence, truncate } from "../../base/truncate.ts";
import type { Turn } from "../contract.ts";
import { countText, percentText } from "../device/format.ts";
import { durationText } from "../device/time.ts";
import { NO_MODEL, NO_SKILLS, firstWord, listing, shown, usageText } from "./contract.ts";
import type { Command, CommandContext, ModelOutline } from "./contract.ts";

const status: Command = {
  name: "status",
  about: "the state of the device, the model and this conversation",
  async run({ turn }, context) {
    const { messages, tokens, share } = await conversation(turn, context);
    return [
      ...(context.allows(turn, "device") ? [await context.device(turn)] : []),
      currentModel(context),
      ...promptLines(context),
      ...allowanceLines(turn),
      ...context.channelStatus().map((line) => shown(line, 512)),
      `Conversation: ${countText(messages, "message")}, about ${countText(tokens, "token")} (${share})`,
      `Running for ${durationText(context.uptime())}`,
    ].join("\n");
  },
};

const model: Command = {
  name: "model",
  about: "the model that answers",
  run: (_, context) => currentModel(context),
};

const tools: Command = {
  name: "tools",
  about: "the tools that the model can call",
  async run({ turn }, context) {
    const found = await context.tools(turn);
    if (found.length === 0) return "No tools are available.";
    const lines = found.map(
      ({ name, description }) => `${name}: ${firstSentence(description, 200)}`,
    );
    return listing("Available Tools:", lines);
  },
};

const contextCommand: Command = {
  name: "context",
  about: "how much of the model's window this conversation fills",
  async run({ turn }, context) {
    const { messages, tokens, share, hasSummary } = await conversation(turn, context);
    return [
      `Messages: ${messages}`,
      `Estimated tokens: ${tokens} (${share})`,
      `Summary: ${hasSummary ? "yes" : "no"}`,
    ].join("\n");
  },
};

const memory: Command = {
  name: "memory",
  about: "what the agent remembers for you beyond this conversation",
  run: ({ turn }, context) => context.memory(turn),
};

const show: Command = {
  name: "show",
  options: "[model|channel|agents]",
  about: "one setting",
  run({ words, turn }, context) {
    switch (words.toLowerCase()) {
      case "model":
        return currentModel(context);
      case "channel":
        return `Current Channel: ${turn.isRemote === true ? "mqtt" : "cli"}`;
      case "agents":
        return agents(context);
      default:
        return usageText(show, words);
    }
  },
};

const list: Command = {
  name: "list",
  options: "[models|channels|agents|skills|mcp]",
  about: "all models, channels, agents, skills or MCP servers",
  run({ words, turn }, context) {
    switch (words.toLowerCase()) {
      case "models":
        return models(context);
      case "channels":
        return channels(context);
      case "agents":
        return agents(context);
      case "skills":
        return context.allows(turn, "use_skill") ? skills(context) : NO_SKILLS;
      case "mcp":
        return mcpServers(context);
      default:
        return usageText(list, words);
    }
  },
};

const check: Command = {
  name: "check",
  options: "channel <name>",
  about: "whether a channel is enabled",
  run({ words }, context) {
    const { word, rest } = firstWord(words);
    if (word !== "channel") return usageText(check, words);
    if (rest === "") return usageText(check, "");
    const isEnabled = context.channels().includes(rest);
    return `Channel '${shown(rest)}' is ${isEnabled ? "available and enabled" : "not enabled"}`;
  },
};

const subagents: Command = {
  name: "subagents",
  about: "your background tasks",
  run({ turn }, context) {
    const tasks = context.tasks(turn);
    const active = tasks.filter(({ state }) => state === "running");
    if (active.length === 0) return "No active tasks running in this session.";
    const lines = active.map(
      ({ id, label, state, seconds }) => `${id} (${state}, ${Math.round(seconds)} s): ${label}`,
    );
    return listing("Active Tasks:", lines);
  },
};

/** Commands that change nothing. */
export const INFO_COMMANDS: readonly Command[] = [
  status,
  model,
  tools,
  contextCommand,
  memory,
  show,
  list,
  check,
  subagents,
];

function currentModel({ models: { current } }: CommandContext): string {
  const now = current();
  return now === undefined ? NO_MODEL : `Current Model: ${modelText(now)}`;
}

function promptLines({ prompt }: CommandContext): readonly string[] {
  const text = prompt();
  return text === undefined ? [] : [`Prompt: ${text}`];
}

function modelText({ name, provider }: ModelOutline): string {
  return `${name} (Provider: ${provider})`;
}

function models({ models: { list: all, current } }: CommandContext): string {
  const now = current()?.name;
  const lines = all().map((one) => `${modelText(one)}${one.name === now ? ", current" : ""}`);
  return lines.length === 0 ? NO_MODEL : listing("Available Models:", lines);
}

function channels(context: CommandContext): string {
  const names = context.channels();
  return names.length === 0 ? "No channels enabled" : listing("Enabled Channels:", names);
}

function mcpServers(context: CommandContext): string {
  const lines = context.servers().map((server) => {
    return `${server.name}: ${server.isConnected ? `${server.tools} tools` : "not connected"}`;
  });
  return lines.length === 0 ? "No MCP servers are enabled." : listing("MCP Servers:", lines);
}

async function agents({ workspace }: CommandContext): Promise<string> {
  const { name } = (await workspace.read()).settings;
  return listing("Agents:", [name === undefined ? "main" : `main (${shown(name)})`]);
}

async function skills({ workspace }: CommandContext): Promise<string> {
  const found = (await workspace.read()).skills;
  if (found.length === 0) return "No skills are installed.";
  const lines = found.map(({ name, description }) => `${name}: ${truncate(description, 200)}`);
  return listing("Available Skills:", lines);
}

/** The usage of the client today and its limits; empty if nothing is counted. */
function allowanceLines({ allowance }: Turn): readonly string[] {
  if (allowance === undefined) return [];
  const usage = allowance.status();
  const { tokensToday, tokensPerDay, costToday, costPerDay, toolCallsPerTurn } = usage;
  const hasCost = costToday > 0 || costPerDay > 0;
  const used = [
    countText(tokensToday, "token") + ofLimit(tokensPerDay, String(tokensPerDay)),
    ...(hasCost ? [`cost ${moneyText(costToday)}${ofLimit(costPerDay, String(costPerDay))}`] : []),
  ];
  const { requestsPerMinute, burst, secondsLeft } = usage;
  const limits = [
    ...(requestsPerMinute > 0
      ? [`${requestsPerMinute} requests a minute, ${Math.max(1, burst)} at once`]
      : []),
    ...(toolCallsPerTurn > 0 ? [`${toolCallsPerTurn} tool calls an answer`] : []),
  ];
  return [
    `Used today: ${used.join(", ")} (the next day begins in ${durationText(secondsLeft)})`,
    ...(limits.length > 0 ? [`Your limits: ${limits.join("; ")}`] : []),
    ...(usage.droppedToday > 0
      ? [`Dropped today: ${countText(usage.droppedToday, "reply")} that found no room`]
      : []),
  ];
}

function ofLimit(limit: number, text: string): string {
  return limit > 0 ? ` of ${text}` : "";
}

function moneyText(cost: number): string {
  return String(Number(cost.toFixed(4)));
}

async function conversation(turn: Turn, context: CommandContext) {
  const history = await turn.history();
  const tokens = Math.round(context.tokens(history));
  const hasSummary = history[0]?.role === "summary";
  const messages = history.length - (hasSummary ? 1 : 0);
  return {
    messages,
    tokens,
    hasSummary,
    share: `${percentText(tokens, context.window())} of the window`,
  };
}
