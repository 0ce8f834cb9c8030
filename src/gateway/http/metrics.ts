import type { GatewayStatus, StatusHistogram } from "../statistics/contract.ts";

/** The text format of Prometheus, version 0.0.4. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Readonly<Record<string, string>>;
/** The value of a metric with these labels. */
type Sample = readonly [labels: Labels, value: number];

/** The numbers of a status as Prometheus reads them. No label names a client: each would be a time series for ever. */
export function metricsText(status: GatewayStatus): string {
  return [stateText(status), requestsText(status), callsText(status)].join("");
}

function stateText({
  version,
  since,
  state,
  channels,
  queue,
  memory,
  store,
}: GatewayStatus): string {
  const perChannel = (value: (channel: GatewayStatus["channels"][number]) => number): Sample[] =>
    channels.map((channel) => [{ channel: channel.name }, value(channel)]);
  return [
    gauge("build_info", "The version that runs.", [[{ version }, 1]]),
    gauge("start_time_seconds", "When the gateway started, since the epoch.", [
      [{}, Date.parse(since) / 1000],
    ]),
    gauge("ready", "1 while every channel works and requests can be stored.", [
      [{}, state === "ready" ? 1 : 0],
    ]),
    gauge(
      "broker_connected",
      "1 while the channel is connected and subscribed.",
      perChannel(({ connected }) => (connected ? 1 : 0)),
    ),
    counter(
      "sessions_lost_total",
      "Sessions with requests that the broker has lost.",
      perChannel(({ sessions_lost }) => sessions_lost),
    ),
    counter(
      "broker_messages_dropped_total",
      "Messages that the broker dropped from full queues, as far as it tells.",
      perChannel(({ messages_dropped }) => messages_dropped),
    ),
    gauge("queue_requests", "Requests whose turn has not begun.", [[{}, queue.waiting]]),
    gauge("turns_running", "Turns that run.", [[{}, queue.running]]),
    gauge("turn_slots", "Turns that may run at once.", [[{}, queue.slots]]),
    histogram("store_commit_seconds", "Transactions of the store.", [[{}, store.commit_seconds]]),
    gauge("resident_memory_bytes", "Physical memory of the process.", [
      [{}, memory.resident_bytes],
    ]),
  ].join("");
}

function requestsText({ requests, usage }: GatewayStatus): string {
  return [
    counter(
      "requests_total",
      "Requests by what became of them.",
      requests.flatMap(({ channel, outcomes }) =>
        Object.entries(outcomes).map(([outcome, count]): Sample => [{ channel, outcome }, count]),
      ),
    ),
    histogram(
      "request_duration_seconds",
      "From a request to the last part of its answer.",
      requests.map(({ channel, duration_seconds }) => [{ channel }, duration_seconds]),
    ),
    histogram(
      "request_first_part_seconds",
      "From a request to the first part of its answer.",
      requests.map(({ channel, first_part_seconds }) => [{ channel }, first_part_seconds]),
    ),
    gauge("tokens_today", "Tokens of today, also of earlier processes.", [
      [{}, usage.gateway.tokens],
    ]),
    gauge("cost_today", "Cost of today, also of earlier processes.", [[{}, usage.gateway.cost]]),
  ].join("");
}

function callsText({ models, tools }: GatewayStatus): string {
  return [
    counter(
      "tokens_total",
      "Tokens of model calls; those that came from a cache are a part of the input.",
      models.flatMap(({ model, tokens_in, tokens_out, tokens_cached }): Sample[] => [
        [{ model, type: "input" }, tokens_in],
        [{ model, type: "cached" }, tokens_cached],
        [{ model, type: "output" }, tokens_out],
      ]),
    ),
    counter(
      "cost_total",
      "Cost of model calls, in the units of model_list[].prices.",
      models.map(({ model, cost }) => [{ model }, cost]),
    ),
    counter(
      "model_calls_total",
      "Model calls.",
      models.flatMap(({ model, calls, failed }): Sample[] => [
        [{ model, outcome: "ok" }, calls - failed],
        [{ model, outcome: "failed" }, failed],
      ]),
    ),
    counter(
      "tool_calls_total",
      "Tool calls.",
      tools.map(({ tool, verdict, calls }) => [{ tool, verdict }, calls]),
    ),
    counter(
      "tool_seconds_total",
      "Time that tool calls took.",
      tools.map(({ tool, verdict, seconds }) => [{ tool, verdict }, seconds]),
    ),
  ].join("");
}

function gauge(name: string, help: string, samples: readonly Sample[]): string {
  return family(
    name,
    "gauge",
    help,
    samples.map((sample) => line(name, sample)),
  );
}

function counter(name: string, help: string, samples: readonly Sample[]): string {
  return family(
    name,
    "counter",
    help,
    samples.map((sample) => line(name, sample)),
  );
}

function histogram(
  name: string,
  help: string,
  samples: readonly (readonly [labels: Labels, values: StatusHistogram])[],
): string {
  const lines = samples.flatMap(([labels, { bounds, counts, sum }]) => {
    let count = 0;
    const buckets = counts.map((more, index) => {
      count += more;
      const le = String(bounds[index] ?? "+Inf");
      return line(`${name}_bucket`, [{ ...labels, le }, count]);
    });
    return [...buckets, line(`${name}_sum`, [labels, sum]), line(`${name}_count`, [labels, count])];
  });
  return family(name, "histogram", help, lines);
}

/** Nothing without a sample. */
function family(name: string, type: string, help: string, lines: readonly string[]): string {
  if (lines.length === 0) return "";
  const full = `picoclaw_${name}`;
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join("")}`;
}

function line(name: string, [labels, value]: Sample): string {
  const shown = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `picoclaw_${name}${shown.length === 0 ? "" : `{${shown.join(",")}}`} ${value}\n`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
