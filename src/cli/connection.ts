import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Failure } from "../base/failure.ts";
import type { Host } from "../base/host.ts";
import type { Log } from "../base/log.ts";
import { passphraseOf } from "../config/compat/go/enc.ts";
import type { Config, ConfigFlags, LoadedConfig, MqttChannel } from "../config/contract.ts";
import { configPaths, SECURITY } from "../config/files.ts";
import type { ConfigFlag } from "../config/flags.ts";
import { inspectConfig, type Inspection, loadConfig, type LoadOptions } from "../config/load.ts";
import { maskedIn, proxySecretsIn } from "../config/secrets.ts";
import type { Flags } from "./args/flags.ts";
import type { Context } from "./context.ts";

const TEXT_FLAGS = [
  "broker",
  "agent",
  "prefix",
  "user",
  "password-file",
  "cafile",
  "cert",
  "key",
] as const satisfies readonly ConfigFlag[];

/** The connection flags of the command line, as input for the configuration. */
export function configFlagsOf(flags: Flags): ConfigFlags {
  const texts = TEXT_FLAGS.map((name) => [name, flags.text(name)] as const);
  const all = [...texts, ["mqtt", flags.choice("mqtt")] as const];
  const given = Object.fromEntries(all.filter(([, text]) => text !== undefined));
  return flags.has("insecure") ? { ...given, insecure: true } : given;
}

export interface LoadContext extends Pick<Context, "redactor"> {
  readonly host: Pick<Host, "env" | "home" | "cwd">;
}

/** Loads the configuration, overridden by these flags, and adds its secrets to the redactor. */
export async function load(
  { host, redactor }: LoadContext,
  flags: ConfigFlags,
  draft?: LoadOptions["draft"],
): Promise<LoadedConfig | Failure> {
  const { env, home, cwd } = host;
  const loaded = await loadConfig({ env, home, cwd, flags, ...(draft && { draft }) });
  if (!(loaded instanceof Failure)) learnSecrets(redactor, loaded.config, env);
  return loaded;
}

/** As `load`, but returns also what is wrong, with the places of all values. */
export async function inspect(
  { host, redactor }: LoadContext,
  flags: ConfigFlags,
): Promise<Inspection | Failure> {
  const { env, home, cwd } = host;
  const inspection = await inspectConfig({ env, home, cwd, flags });
  if (!(inspection instanceof Failure)) learnSecrets(redactor, inspection.config, env);
  return inspection;
}

function learnSecrets(
  redactor: LoadContext["redactor"],
  config: Config | undefined,
  env: Host["env"],
): void {
  const passphrase = passphraseOf(env);
  redactor.add([...(config ? maskedIn(config) : []), ...proxySecretsIn(env)]);
  if (typeof passphrase === "string") redactor.add([passphrase]);
}

/** As `load`, but throws the `Failure`, and the refusal of what may be written but not used. */
export async function loadUsable(context: LoadContext, flags: ConfigFlags): Promise<LoadedConfig> {
  const loaded = await load(context, flags);
  if (loaded instanceof Failure) throw loaded;
  if (loaded.refusal !== undefined) throw loaded.refusal;
  return loaded;
}

/** As `load`, but throws the `Failure`. Warnings are logged at debug, so that they do not disturb an answer. */
export async function loadOrThrow(
  context: LoadContext,
  log: Log,
  flags: ConfigFlags,
): Promise<LoadedConfig> {
  return checked(await load(context, flags), log);
}

/** Throws the `Failure`; warnings are logged at debug. */
export function checked(loaded: LoadedConfig | Failure, log: Log): LoadedConfig {
  if (loaded instanceof Failure) throw loaded;
  for (const { message, remedy } of loaded.warnings) log.debug(message, { remedy });
  return loaded;
}

/** The context in which `--config` names the file, as `PICOCLAW_CONFIG` does. Throws a usage `Failure` without it. */
export function withConfigFile({ host, flags, redactor }: Context): LoadContext {
  const named = flags.text("config");
  if (named === undefined) return { host, redactor };
  const { env, home, cwd } = host;
  const file = resolve(cwd, named);
  if (!existsSync(file)) throw new Failure("usage", `--config: ${file} does not exist`);
  return { host: { env: { ...env, PICOCLAW_CONFIG: file }, home, cwd }, redactor };
}

/** All files with secrets, that of --password-file too. */
export function secretFilesOf({ secretFiles }: LoadedConfig, { host, flags }: Context): string[] {
  const password = flags.text("password-file");
  return [...secretFiles, ...(password === undefined ? [] : [resolve(host.cwd, password)])];
}

/** Where `/health` and the page listen. */
export function healthPlace({ config: { gateway } }: LoadedConfig, flags: Context["flags"]) {
  return { host: flags.text("host") ?? gateway.host, port: flags.count("port") ?? gateway.port };
}

/** Why a gateway does not start without a channel. */
export function nothingToServe(loaded: LoadedConfig): Failure {
  return new Failure("config", "there is no channel to serve", {
    why: whyNoChannel(loaded),
    remedy: remedyIn(loaded) ?? "picoclaw onboard sets one up",
  });
}

/** Files that are wrong do not stop a command whose flags name broker and agent. */
async function loadOrIgnore(context: Context, log: Log): Promise<LoadedConfig> {
  const { flags, host } = context;
  const given = configFlagsOf(flags);
  const isWhole = given.broker !== undefined && given.agent !== undefined;
  const loaded = await load(context, given);
  const isWrong = loaded instanceof Failure && loaded.code === "config";
  if (!isWrong || !isWhole || flags.text("channel") !== undefined) return checked(loaded, log);
  const { file } = configPaths({ env: host.env, userHome: host.home, cwd: host.cwd });
  const draft = new Map([
    [file, "{}"],
    [join(dirname(file), SECURITY), ""],
  ]);
  const again = await load(context, given, draft);
  if (again instanceof Failure) throw again;
  log.warn("the configuration is wrong and is ignored: only flags count", { why: loaded.message });
  return again;
}

/** With what is said of the channels: one may be off because of how it is written. */
function whyNoChannel({ file, found, warnings }: LoadedConfig): string {
  const first = found ? `${file} has no enabled channel of type mqtt` : `there is no ${file}`;
  const others = warnings.filter(isAboutChannels).map(({ message }) => message);
  return [first, ...others].join("\n");
}

function remedyIn({ warnings }: LoadedConfig): string | undefined {
  return warnings.find(isAboutChannels)?.remedy;
}

function isAboutChannels({ message }: { readonly message: string }): boolean {
  return message.includes("channel_list");
}

/** As `loadAgent`, without the model. */
export async function loadChannel(context: Context, log: Log): Promise<MqttChannel> {
  return (await loadAgent(context, log)).channel;
}

/** The way to an agent. */
export interface AgentRoute {
  readonly channel: MqttChannel;
  readonly config: Config;
  /** The name of its model, if the configuration of the channel says so. */
  readonly model: string | undefined;
}

/**
 * The channel that a command uses: the one of --channel, else the one with the agent id of --agent, else the
 * first. Throws a `Failure` if there is none.
 */
export async function loadAgent(context: Context, log: Log): Promise<AgentRoute> {
  const { flags } = context;
  const routeOf = (channel: MqttChannel, { config }: LoadedConfig): AgentRoute => {
    const isOwn = flags.text("broker") === undefined;
    return { channel, config, model: (isOwn && config.agents.defaults.model_name) || undefined };
  };
  const { agent, ...others } = configFlagsOf(flags);
  if (agent !== undefined && flags.text("channel") === undefined) {
    // --agent overrides the id of every channel, so the search for a channel with that id loads without it.
    const loaded = await load(context, others);
    const serving =
      loaded instanceof Failure
        ? undefined
        : loaded.config.channels.find(({ settings }) => settings.agent_id === agent);
    if (serving !== undefined && !(loaded instanceof Failure)) return routeOf(serving, loaded);
  }
  const loaded = await loadOrIgnore(context, log);
  return routeOf(chooseChannel(loaded, flags.text("channel")), loaded);
}

function chooseChannel(loaded: LoadedConfig, name?: string): MqttChannel {
  const { file, config } = loaded;
  const { channels } = config;
  const chosen =
    name === undefined ? channels[0] : channels.find((channel) => channel.name === name);
  if (chosen !== undefined) return chosen;
  if (channels.length > 0) {
    throw new Failure("usage", `there is no channel "${name}"`, {
      why: `${file} has ${channels.map((channel) => channel.name).join(", ")}`,
    });
  }
  throw new Failure("config", "no MQTT broker is configured", {
    why: whyNoChannel(loaded),
    remedy:
      remedyIn(loaded) ??
      "picoclaw onboard sets one up; or add --broker tcp://localhost:1883 --agent assistant, or run picoclaw try",
  });
}
