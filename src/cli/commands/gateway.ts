import { onAbort, pause } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import { allowRequests, collectGarbage, compileHotCode, dropCode } from "../../base/host.ts";
import { createLog, type Log, type LogLevel } from "../../base/log.ts";
import type { Config, LoadedConfig } from "../../config/contract.ts";
import type { Health, HealthOptions } from "../../gateway/health.ts";
import { configFlagsOf, healthPlace, loadUsable, nothingToServe } from "../connection.ts";
import { secretFilesOf, withConfigFile } from "../connection.ts";
import type { Context } from "../context.ts";
import { otherPaths } from "../http/other-paths.ts";
import { type Hangups, listenForHangups } from "../runtime/hangup.ts";
import { openRuntime, type Runtime, type RuntimeOptions } from "../runtime/runtime.ts";
import { isColoured } from "../terminal/colour.ts";

/** `picoclaw gateway`: answers MQTT requests until a signal arrives. */
export async function run(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  if (flags.has("check")) {
    const { checkGateway } = await import("../doctor/report.ts");
    return checkGateway(context);
  }
  const load = () => loadUsable(withConfigFile(context), configFlagsOf(flags));
  const loaded = await load();
  const { config } = loaded;
  // Each turn waits for its model, and should not wait for the models of others.
  allowRequests(config.agents.defaults.max_parallel_turns);
  const log = await createGatewayLog(context, config.gateway.log_level);
  logWarnings(loaded, log);
  if (config.channels.length === 0) throw nothingToServe(loaded);
  const serving = {
    config,
    channels: config.channels,
    log,
    redactor,
    logContent: flags.has("log-content"),
    connectTimeoutMs: flags.duration("connect-timeout"),
    pid: host.pid,
    persistent: true,
    home: loaded.home,
    configFile: loaded.file,
    secretFiles: secretFilesOf(loaded, context),
    load: async () => {
      const again = await load();
      logWarnings(again, log);
      return { config: again.config, secretFiles: secretFilesOf(again, context) };
    },
    onReload: ({ gateway }: Config) => log.setLevel(levelOf(flags, gateway.log_level)),
  };
  return serveUntilStopped(serving, context, { loaded, log });
}

async function serveUntilStopped(
  serving: RuntimeOptions,
  context: Context,
  running: Running,
): Promise<number> {
  const hangups = listenForHangups(context, running.log);
  const { signal } = hangups;
  const tracing = await tracingOf(serving, context);
  let reloaded: RuntimeOptions["reloaded"];
  try {
    for (;;) {
      const trace = { trace: tracing?.record, traceText: tracing?.textOf };
      const options = { ...serving, reloaded, ...trace };
      const runtime = await openWhenReachable(options, signal);
      if (runtime === undefined) return 0;
      hangups.reloads(runtime);
      const exit = await serve(runtime, { ...context, signal }, { ...running, hangups });
      if (exit !== undefined) return exit;
      reloaded = runtime.reloaded() ?? reloaded;
    }
  } finally {
    hangups.release();
    await tracing?.close();
  }
}

/** What OpenTelemetry's variables ask for; nothing is loaded without an endpoint. */
async function tracingOf({ channels, log }: RuntimeOptions, { host: { env }, redactor }: Context) {
  const endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (endpoints.every((name) => (env[name] ?? "") === "")) return undefined;
  const { openTracing } = await import("../runtime/tracing.ts");
  return openTracing(env, { channels, log, redactor });
}

function logWarnings({ warnings }: LoadedConfig, log: Log): void {
  for (const { message, remedy } of warnings) log.warn(message, { try: remedy });
}

/** Milliseconds between two attempts to reach a database. */
const REACH_MS = { first: 1000, most: 30_000 };

/**
 * Opens everything. While the database that `gateway.store` names is away it waits for it, as for a broker; undefined
 * when the signal is aborted first.
 */
async function openWhenReachable(
  options: RuntimeOptions,
  signal: AbortSignal,
): Promise<Runtime | undefined> {
  for (let waitMs = REACH_MS.first; !signal.aborted; waitMs = Math.min(2 * waitMs, REACH_MS.most)) {
    try {
      return await openRuntime(options);
    } catch (thrown) {
      const { code, message, why, remedy } = asFailure(thrown);
      const isAway = ["busy", "unsure", "unreachable", "fenced"].includes(code);
      if (options.config.gateway.store === undefined || !isAway) throw thrown;
      options.log.error("waiting for the database of gateway.store", {
        error: message,
        why,
        try: remedy,
        again_in_s: waitMs / 1000,
      });
      await pause(waitMs * (0.75 + Math.random() / 2), signal).catch(() => {});
    }
  }
  return undefined;
}

/** On stderr; unless --log-format says otherwise, text on a terminal and JSON elsewhere. */
function createGatewayLog({ host, flags, redactor }: Context, configured: LogLevel) {
  const { stderr, env } = host;
  return createLog({
    level: levelOf(flags, configured),
    output: stderr,
    format: flags.choice("log-format") ?? (stderr.isTTY ? "text" : "json"),
    colour: isColoured(stderr, env, flags),
    redactor,
  });
}

function levelOf(flags: Context["flags"], configured: LogLevel): LogLevel {
  return flags.has("debug") ? "debug" : (flags.choice("log-level") ?? configured);
}

interface Running {
  readonly loaded: LoadedConfig;
  readonly log: Log;
}

/**
 * Serves until the first signal, then drains; returns the exit code. Undefined if everything has to be opened anew:
 * other gateways have what this one held. Fails when every channel has ended.
 */
async function serve(
  serving: Runtime,
  context: Context,
  { loaded, log, hangups }: Running & { readonly hangups: Pick<Hangups, "reloads"> },
): Promise<number | undefined> {
  const { flags, signal } = context;
  const { host } = healthPlace(loaded, flags);
  let drainMs = flags.duration("drain");
  let health: Health | undefined;
  let socket: Awaited<ReturnType<typeof openStatusSocket>>;
  try {
    // Loaded after the channels have subscribed.
    const { openHealth } = await import("../../gateway/health.ts");
    health = await openHealth(healthOptions(serving, context, { loaded, log }));
    socket = await openStatusSocket(serving, log);
    compileHotCode();
    const { logStart } = await import("../runtime/start-log.ts");
    const { addresses } = health;
    const { gateway } = loaded.config;
    logStart(serving, { config: loaded.file, host, addresses, gateway, log });
    if (context.host.env["NOTIFY_SOCKET"]) {
      const { reportToSystemd } = await import("../service/notify.ts");
      reportToSystemd(serving, context, log);
    }
    // Most of the code that has run by now was for the start.
    dropCode();
    collectGarbage();
    const stopped = new Promise<undefined>((resolve) => onAbort(signal, () => resolve(undefined)));
    const failure = await Promise.race([serving.over, stopped]);
    if (failure?.code === "fenced") {
      drainMs = 0;
      // From here on a SIGHUP is for the gateway that comes next.
      hangups.reloads(undefined);
      log.error(`${failure.message}: it ends its work and starts anew`, { why: failure.why });
      return undefined;
    }
    if (failure) throw failure;
    log.info("stopping: running answers may finish", { drain_ms: drainMs });
    return 0;
  } finally {
    const { cancelled, undelivered, resumable } = await serving.stop(drainMs);
    await socket?.close();
    await health?.close();
    const left = cancelled + undelivered;
    log[left > 0 ? "warn" : "info"]("gateway stopped", { cancelled, undelivered, resumable });
  }
}

/** For `picoclaw status`. Without it the gateway serves all the same: some disks have no sockets. */
async function openStatusSocket({ socketFile, status }: Runtime, log: Log) {
  if (socketFile === undefined) return undefined;
  try {
    const { serveText } = await import("../../base/local-socket.ts");
    return await serveText(socketFile, async () => `${JSON.stringify(await status())}\n`);
  } catch (thrown) {
    log.warn("picoclaw status cannot ask this gateway", { why: asFailure(thrown).why });
    return undefined;
  }
}

function healthOptions(
  serving: Runtime,
  context: Context,
  { loaded, log }: Running,
): HealthOptions {
  const { host, flags, redactor } = context;
  return {
    ...healthPlace(loaded, flags),
    pid: host.pid,
    log,
    status: serving.status,
    others: otherPaths({ context, runtime: serving, loaded, log }),
    ready() {
      const reason = serving.problem();
      return reason === undefined
        ? { ready: true }
        : { ready: false, reason: redactor.redact(reason) };
    },
  };
}
