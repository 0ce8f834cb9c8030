import { resolve as absolute } from "node:path";
import { onAbort, pause } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { allowRequests, compileHotCode } from "../../base/host.ts";
import { createLog, LOG_LEVELS, type Log } from "../../base/log.ts";
import type { LoadedConfig } from "../../config/contract.ts";
import type { Health, HealthOptions } from "../../gateway/health.ts";
import { isColoured } from "../colour.ts";
import { configFlagsOf, load as loadWith } from "../connection.ts";
import type { Context } from "../context.ts";
import { openRuntime, type Runtime, type RuntimeOptions } from "../runtime.ts";

/** `picoclaw gateway`: answers MQTT requests until a signal arrives. */
export async function run(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  const load = async (): Promise<LoadedConfig> => {
    const read = await loadWith(context, configFlagsOf(flags));
    if (read instanceof Failure) throw read;
    if (read.refusal !== undefined) throw read.refusal;
    return read;
  };
  const loaded = await load();
  const { config } = loaded;
  // Each turn waits for its model, and should not wait for the models of others.
  if (!flags.has("check")) allowRequests(config.agents.defaults.max_parallel_turns);
  const log = await createGatewayLog(context, config.gateway.log_level);
  for (const { message, remedy } of loaded.warnings) log.warn(message, { try: remedy });
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
      return { config: again.config, secretFiles: secretFilesOf(again, context) };
    },
  };
  if (flags.has("check")) {
    const { checkGateway } = await import("../gateway-check.ts");
    return checkGateway(serving, context);
  }
  for (;;) {
    const runtime = await openWhenReachable(serving, context.signal);
    if (runtime === undefined) return 0;
    const exit = await serve(runtime, context, { loaded, log });
    if (exit !== undefined) return exit;
  }
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

function secretFilesOf({ secretFiles }: LoadedConfig, { host, flags }: Context): string[] {
  const password = flags.text("password-file");
  return [...secretFiles, ...(password === undefined ? [] : [absolute(host.cwd, password)])];
}

function nothingToServe({ file, found }: LoadedConfig): Failure {
  return new Failure("config", "there is no channel to serve", {
    why: found ? `${file} has no enabled channel of type mqtt` : `there is no ${file}`,
    remedy: "picoclaw gateway --broker tcp://localhost:1883 --agent assistant",
  });
}

/** On stderr: text on a terminal, JSON otherwise. */
function createGatewayLog({ host, flags, redactor }: Context, configured: string): Promise<Log> {
  const { stderr, env } = host;
  const wanted = flags.has("debug") ? "debug" : (flags.choice("log-level") ?? configured);
  return createLog({
    level: LOG_LEVELS.find((level) => level === wanted) ?? "info",
    output: stderr,
    format: stderr.isTTY ? "text" : "json",
    colour: isColoured(stderr, env, flags),
    redactor,
  });
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
  { loaded, log }: Running,
): Promise<number | undefined> {
  const { flags, signal } = context;
  let drainMs = flags.duration("drain");
  let health: Health | undefined;
  try {
    // Loaded after the channels have subscribed.
    const { openHealth } = await import("../../gateway/health.ts");
    health = await openHealth(healthOptions(serving, context, { loaded, log }));
    compileHotCode();
    log.info("gateway started", { config: loaded.file, health: health.addresses.join(" ") });
    const stopped = new Promise<undefined>((resolve) => onAbort(signal, () => resolve(undefined)));
    const failure = await Promise.race([serving.over, stopped]);
    if (failure?.code === "fenced") {
      drainMs = 0;
      log.error(`${failure.message}: it ends its work and starts anew`, { why: failure.why });
      return undefined;
    }
    if (failure) throw failure;
    log.info("stopping: running answers may finish", { drain_ms: drainMs });
    return 0;
  } finally {
    const { cancelled, undelivered, resumable } = await serving.stop(drainMs);
    await health?.close();
    const left = cancelled + undelivered;
    log[left > 0 ? "warn" : "info"]("gateway stopped", { cancelled, undelivered, resumable });
  }
}

function healthOptions(
  serving: Runtime,
  { host, flags, redactor }: Context,
  { loaded, log }: Running,
): HealthOptions {
  const { gateway } = loaded.config;
  return {
    host: flags.text("host") ?? gateway.host,
    port: gateway.port,
    pid: host.pid,
    log,
    ready() {
      const reason = serving.problem();
      return reason === undefined
        ? { ready: true }
        : { ready: false, reason: redactor.redact(reason) };
    },
  };
}
