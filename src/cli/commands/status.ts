import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { readServedText } from "../../base/local-socket.ts";
import { isObject } from "../../base/unknown.ts";
import type { Config } from "../../config/contract.ts";
import type {
  GatewayStatus,
  StatusRequest,
  StatusUsage,
} from "../../gateway/statistics/contract.ts";
import { socketFilesIn } from "../../store/home/instance-files.ts";
import { withConfigFile } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { formatDuration } from "../duration.ts";
import { loadStateConfig } from "../state/state-config.ts";
import { stateFolderOf } from "../state/state-folder.ts";
import { createPaint, isColoured, type Paint } from "../terminal/colour.ts";

const RUNNING = 0;
const NOT_READY = 1;
const NOT_RUNNING = 3;
const NOT_CONNECTED = 4;

/** A gateway that is busy or stopped (SIGSTOP) is waited for so long. */
const READ_MS = 2000;

/** `picoclaw status`: asks the gateways of this home what they do. */
export async function run(context: Context): Promise<number> {
  const { host, flags } = context;
  const log = await createCommandLog(context);
  const config = await loadStateConfig(withConfigFile(context), { log, readsStore: false });
  const found = await readStatuses(stateFolderOf(config));
  const isConnected = found.every(({ state }) => state === "ready");
  if (flags.has("ready")) {
    await host.stdout.write(`${readyLine(found)}\n`);
    return found.length > 0 && isConnected ? RUNNING : NOT_READY;
  }
  if (flags.has("json")) await host.stdout.write(found.map(jsonLine).join(""));
  else {
    const paint = createPaint(isColoured(host.stdout, host.env, flags));
    const texts = found.map((status) => statusText(status, paint));
    await host.stdout.write(texts.join("\n") || "no gateway of this home is running\n");
    if (found.length === 0) await host.stderr.write(startHint(config));
  }
  if (found.length === 0) return NOT_RUNNING;
  return isConnected ? RUNNING : NOT_CONNECTED;
}

/** How to start one; `channels` are those to serve. */
function startHint({ channels }: Pick<Config, "channels">): string {
  return channels.length === 0
    ? "try: picoclaw onboard sets one up\n"
    : "try: picoclaw gateway serves until Ctrl-C; picoclaw service install serves from now on\n";
}

/** What the gateways say that run in a state folder. */
async function readStatuses(folder: string): Promise<readonly GatewayStatus[]> {
  const sockets = socketFilesIn(folder);
  const texts = await Promise.all(sockets.map((socket) => readServedText(socket, READ_MS)));
  return texts.flatMap((text) => (text === undefined ? [] : parseStatus(text)));
}

/** Of a program of this user, which may be of another version: it is shown as far as it is understood. */
function parseStatus(text: string): readonly GatewayStatus[] {
  try {
    const found: unknown = JSON.parse(text);
    return isStatus(found) ? [found] : [];
  } catch {
    return [];
  }
}

function isStatus(found: unknown): found is GatewayStatus {
  return isObject(found) && found["type"] === "status" && found["v"] === 1;
}

function readyLine(found: readonly GatewayStatus[]): string {
  if (found.length === 0) return "not running";
  const failing = found.find(({ state }) => state !== "ready");
  return failing === undefined ? "ready" : escapeControl(`not ready: ${failing.reason ?? ""}`);
}

function statusText(status: GatewayStatus, paint: Paint): string {
  const { version, pid, instance, state, reason = "", uptime_s, since, memory } = status;
  const head =
    state === "ready"
      ? paint.green("ready")
      : `${paint.red("not ready")}: ${escapeControl(reason)}`;
  const rows: (readonly [string, string])[] = [
    ["since", `${localMinute(since)}, for ${uptimeText(uptime_s)}`],
    ...status.channels.map((channel) => ["channel", channelText(channel)] as const),
    ["agent", agentText(status)],
    ["queue", queueText(status)],
    ...watchRows(status),
    ["requests", outcomesText(status)],
    ...(status.jobs ? [["jobs", jobsText(status.jobs)] as const] : []),
    ["today", usageText(status.usage.gateway)],
    ...status.usage.channels
      .filter(({ limits }) => limits.tokens_per_day > 0 || limits.cost_per_day > 0)
      .map((usage) => ["", `${usage.channel ?? ""}: ${usageText(usage)}`] as const),
    ["last", lastText(status.recent[0])],
    ["memory", `${Math.round(memory.resident_bytes / 2 ** 20)} MiB`],
  ];
  const lines = rows.map(([name, text]) => `  ${paint.dim(name.padEnd(9))} ${escapeControl(text)}`);
  return `${[`picoclaw ${version} (pid ${pid}, instance ${instance}): ${head}`, ...lines].join("\n")}\n`;
}

function channelText(channel: GatewayStatus["channels"][number]): string {
  const { name, agent_id, broker, connected, problem, sessions_lost, other_gateways } = channel;
  return [
    `${name}: agent ${agent_id} on ${broker.join(", ")}`,
    connected ? "connected" : `not connected: ${problem ?? ""}`,
    ...(sessions_lost > 0 ? [`sessions lost: ${sessions_lost}`] : []),
    ...(other_gateways > 0 ? [`other gateways that answer too: ${other_gateways}`] : []),
  ].join(", ");
}

function agentText({ agent: { model, provider } }: GatewayStatus): string {
  return model === undefined ? "offline agent, no model" : `${model} (${provider ?? ""})`;
}

function queueText({ queue: { running, slots, waiting } }: GatewayStatus): string {
  return `${running} of ${slots} turns running, ${waiting} waiting`;
}

function watchRows({ watch }: GatewayStatus): readonly (readonly [string, string])[] {
  if (watch === undefined) return [];
  const { watches, started } = watch;
  return [["watch", `${watches} watch${watches === 1 ? "" : "es"}, turns begun: ${started}`]];
}

function outcomesText({ requests }: GatewayStatus): string {
  const sums = new Map<string, number>();
  for (const { outcomes } of requests) {
    for (const [outcome, count] of Object.entries(outcomes))
      sums.set(outcome, (sums.get(outcome) ?? 0) + count);
  }
  if (sums.size === 0) return "none since the start";
  return [...sums].map(([outcome, count]) => `${count} ${outcome}`).join(", ");
}

function jobsText({ jobs, enabled, next_at }: NonNullable<GatewayStatus["jobs"]>): string {
  return [
    `${jobs}`,
    ...(enabled < jobs ? [`${jobs - enabled} disabled`] : []),
    ...(next_at === undefined ? [] : [`next at ${localMinute(next_at)}`]),
  ].join(", ");
}

function usageText({ requests, tokens, cost, limits }: StatusUsage): string {
  const costText =
    cost > 0 || limits.cost_per_day > 0 ? [`cost ${cost}${of(limits.cost_per_day)}`] : [];
  return [
    `${requests} request${requests === 1 ? "" : "s"}`,
    `${tokens}${of(limits.tokens_per_day)} tokens`,
    ...costText,
  ].join(", ");
}

function of(limit: number): string {
  return limit > 0 ? ` of ${limit}` : "";
}

function lastText(last: StatusRequest | undefined): string {
  if (last === undefined) return "no request yet";
  const { client, channel, outcome, at, ms = 0, tools = [] } = last;
  const used = tools.length === 0 ? "" : `, tools: ${tools.map(({ name }) => name).join(" ")}`;
  return `${client} (${channel}), ${localMinute(at)}: ${outcome} in ${formatDuration(ms)}${used}`;
}

/** Local time: `2026-11-30 09:05`. */
function localMinute(iso: string): string {
  const date = new Date(iso);
  const [month = "", day = "", hour = "", minute = ""] = [
    date.getMonth() + 1,
    date.getDate(),
    date.getHours(),
    date.getMinutes(),
  ].map((value) => String(value).padStart(2, "0"));
  return `${date.getFullYear()}-${month}-${day} ${hour}:${minute}`;
}

/** `3 d 4 h`, `2 h 5 min`, `40 s`. */
function uptimeText(seconds: number): string {
  const [days, hours, minutes] = [86_400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days} d ${(hours ?? 0) % 24} h`;
  if (hours) return `${hours} h ${(minutes ?? 0) % 60} min`;
  return minutes ? `${minutes} min` : `${seconds} s`;
}
