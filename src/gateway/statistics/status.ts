import { heapBytes, residentBytes } from "../../base/host.ts";
import { VERSION } from "../../base/version.ts";
import { usageToday } from "../usage/today.ts";
import type { AccountFacts } from "../usage/today.ts";
import type {
  GatewayStatus,
  StatusAgent,
  StatusChannel,
  StatusHistogram,
  StatusJobs,
  StatusQueue,
  StatusRequest,
  StatusRequests,
  StatusWatches,
} from "./contract.ts";
import type { Histogram } from "./histogram.ts";
import type { EndedRequest, Statistics } from "./statistics.ts";

/** What the gateway itself knows. */
export interface GatewayReport {
  readonly statistics: Statistics;
  readonly queue: StatusQueue;
  readonly accounts: AccountFacts;
}

/** What the program knows around it. */
export interface ProcessFacts {
  readonly pid: number;
  readonly instance: string;
  readonly channels: readonly StatusChannel[];
  readonly agent: StatusAgent;
  readonly jobs?: StatusJobs | undefined;
  /** Why it is not ready; undefined if it is. */
  readonly problem: string | undefined;
  readonly watch?: StatusWatches | undefined;
}

/** What a running gateway knows of itself, now. Takes a millisecond. */
export function statusOf(
  { statistics, queue, accounts }: GatewayReport,
  { pid, instance, channels, agent, jobs, watch, problem }: ProcessFacts,
): GatewayStatus {
  const { now, uptimeMs } = statistics.moment();
  const { gateway: total, channels: totals, clients } = usageToday(accounts);
  return {
    v: 1,
    type: "status",
    state: problem === undefined ? "ready" : "not_ready",
    ...(problem !== undefined && { reason: problem }),
    version: VERSION,
    pid,
    instance,
    since: new Date(now - uptimeMs).toISOString(),
    uptime_s: Math.floor(uptimeMs / 1000),
    channels,
    agent,
    queue,
    ...(watch && { watch }),
    memory: { resident_bytes: residentBytes(), heap_bytes: heapBytes() },
    usage: { gateway: total, channels: totals },
    clients,
    requests: [...statistics.requests].map(([channel, counts]): StatusRequests => ({
      channel,
      outcomes: Object.fromEntries(counts.outcomes),
      duration_seconds: histogramOf(counts.duration),
      first_part_seconds: histogramOf(counts.firstPart),
    })),
    models: [...statistics.models].map(([model, counts]) => ({
      model,
      provider: counts.provider,
      calls: counts.calls,
      failed: counts.failed,
      tokens_in: counts.tokensIn,
      tokens_cached: counts.tokensCached,
      tokens_out: counts.tokensOut,
      cost: rounded(counts.cost),
    })),
    tools: [...statistics.tools.values()].map(({ tool, verdict, calls, ms }) => {
      return { tool, verdict, calls, seconds: rounded(ms / 1000) };
    }),
    ...(jobs && { jobs }),
    store: { commit_seconds: histogramOf(statistics.commits) },
    minutes: statistics.minutes.until(now),
    recent: statistics.recent().map((request) => requestOf(request)),
  };
}

function histogramOf({ bounds, counts, sum }: Histogram): StatusHistogram {
  return { bounds, counts: [...counts], sum: rounded(sum) };
}

function requestOf(ended: EndedRequest): StatusRequest {
  const { number, at, channel, client, id, outcome, message, usage, tools } = ended;
  const { queuedMs, firstMs, ms, question, answer } = ended;
  return {
    number,
    at: new Date(at).toISOString(),
    channel,
    client,
    ...(id !== undefined && { id }),
    outcome,
    ...(message !== undefined && { message }),
    ...(queuedMs !== undefined && { queued_ms: Math.round(queuedMs) }),
    ...(firstMs !== undefined && { first_ms: Math.round(firstMs) }),
    ms: Math.round(ms),
    ...(usage && { tokens_in: usage.inputTokens, tokens_out: usage.outputTokens }),
    ...(usage?.cost && { cost: rounded(usage.cost) }),
    ...(tools.length > 0 && {
      tools: tools.map(({ tool, verdict, startedAt, endedAt }) => {
        return { name: tool, verdict, ms: Math.round(endedAt - startedAt) };
      }),
    }),
    ...(question !== undefined && { question }),
    ...(answer !== undefined && { answer }),
  };
}

/** Sums of fractions have digits without a meaning. */
function rounded(value: number): number {
  return Number(value.toFixed(6));
}
