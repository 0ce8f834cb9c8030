import { resolve } from "node:path";
import { Failure } from "../../base/failure.ts";
import { mqttNames } from "../../config/channels.ts";
import { passphraseOf, sealed } from "../../config/compat/go/enc.ts";
import type { Config, ConfigFlags, LoadedConfig, MqttChannel } from "../../config/contract.ts";
import { type Change, type Draft, draftChanges } from "../../config/edit/draft.ts";
import { inspectConfig } from "../../config/load.ts";
import { branchAt, type Path } from "../../config/tree.ts";
import { configFlagsOf } from "../connection.ts";
import type { Context } from "../context.ts";
import { type ConnectionAnswers, type ModelAnswer, modelInUse } from "./answers.ts";

export interface Answers {
  readonly connection: ConnectionAnswers;
  readonly model: ModelAnswer;
}

/** The configuration with the answers in it; writes nothing. Throws a `Failure`. */
export async function draftOf(
  { host, flags }: Context,
  { connection, model }: Answers,
  { config }: LoadedConfig,
): Promise<Draft & { readonly channel: string }> {
  const { env, home, cwd } = host;
  const options = { env, home, cwd };
  const inspected = await inspectConfig(options);
  if (inspected instanceof Failure) throw inspected;
  const channel = config.channels[0]?.name ?? mqttNames(inspected.tree)[0] ?? "mqtt";
  const isThere = branchAt(inspected.tree, "channel_list", channel) !== undefined;
  const workspace = flags.text("workspace");
  const seal = (secret: string): Promise<string> => sealedIfPossible(secret, { env, home });
  const changes = [
    ...(await connectionChanges(connection, config, {
      channel,
      isThere,
      seal,
      given: configFlagsOf(flags),
      cwd,
    })),
    ...(await modelChanges(model, config, seal)),
    ...(workspace === undefined
      ? []
      : changed(["agents", "defaults", "workspace"], {
          value: resolve(cwd, workspace),
          former: config.agents.defaults.workspace,
        })),
  ];
  const draft = await draftChanges(options, changes);
  if (draft.loaded.refusal !== undefined) throw draft.loaded.refusal;
  checkEffect(draft.loaded, { connection, model }, channel);
  checkModelsStay(config, draft.loaded);
  return { ...draft, channel };
}

/** A secret as it is stored: encrypted, if the gateway has a passphrase. */
async function sealedIfPossible(
  secret: string,
  { env, home }: Pick<Context["host"], "env" | "home">,
): Promise<string> {
  const passphrase = passphraseOf(env);
  if (passphrase === undefined) return secret;
  const text =
    typeof passphrase === "string"
      ? await sealed(secret, passphrase, { env, userHome: home })
      : passphrase;
  if (typeof text === "string") return text;
  throw new Failure("config", `the secret cannot be encrypted: it ${text.fault}`);
}

/** Nothing if no value is given, and if it holds already. */
function changed(
  path: Path,
  { value, former }: { readonly value: unknown; readonly former: unknown },
): readonly Change[] {
  if (value === undefined || value === former) return [];
  return [former === undefined ? { path, value } : { path, value, former }];
}

interface ChannelPlace {
  readonly channel: string;
  readonly isThere: boolean;
  readonly seal: (secret: string) => Promise<string>;
  /** Flags of the connection that nobody is asked for. */
  readonly given: ConfigFlags;
  /** The base of their files. */
  readonly cwd: string;
}

async function connectionChanges(
  connection: ConnectionAnswers,
  { channels }: Config,
  { channel, isThere, seal, ...flags }: ChannelPlace,
): Promise<readonly Change[]> {
  const at: At = (...rest) => ["channel_list", channel, ...rest];
  const present = channels.find(({ name }) => name === channel);
  const { settings } = present ?? {};
  const { broker, agent, user } = connection;
  return [
    ...(present === undefined ? [{ path: at("enabled"), value: true }] : []),
    ...(isThere ? [] : [{ path: at("type"), value: "mqtt" }]),
    ...changed(at("settings", "broker"), { value: broker, former: settings?.broker.join() }),
    ...changed(at("settings", "agent_id"), { value: agent, former: settings?.agent_id }),
    ...changed(at("settings", "username"), { value: user, former: settings?.username?.reveal() }),
    ...flagChanges(flags, settings, at),
    ...tlsChanges(flags, settings?.tls, at),
    ...(await passwordChanges(connection.password, settings, { at, seal })),
  ];
}

type At = (...rest: readonly string[]) => Path;
type Settings = MqttChannel["settings"];

async function passwordChanges(
  password: string | undefined,
  settings: Settings | undefined,
  { at, seal }: Pick<ChannelPlace, "seal"> & { readonly at: At },
): Promise<readonly Change[]> {
  if (password === undefined || password === settings?.password?.reveal()) return [];
  return [{ path: at("settings", "password"), value: await seal(password), isSecret: true }];
}

type FlagPlace = Pick<ChannelPlace, "given" | "cwd">;

function flagChanges(
  { given: { prefix, mqtt } }: FlagPlace,
  settings: Settings | undefined,
  at: At,
): readonly Change[] {
  const version = mqtt === undefined || mqtt === "auto" ? mqtt : Number(mqtt);
  return [
    ...changed(at("settings", "topic_prefix"), { value: prefix, former: settings?.topic_prefix }),
    ...changed(at("settings", "protocol_version"), {
      value: version,
      former: settings?.protocol_version,
    }),
  ];
}

/** Certificates to verify with turn verification on. */
function tlsChanges(
  { given: { cafile, cert, key, insecure }, cwd }: FlagPlace,
  tls: Settings["tls"] | undefined,
  at: At,
): readonly Change[] {
  const files = [
    ["ca_file", cafile, tls?.ca_file],
    ["cert_file", cert, tls?.cert_file],
    ["key_file", key, tls?.key_file],
  ] as const;
  const isVerified = cafile === undefined ? undefined : true;
  return [
    ...files.flatMap(([name, file, former]) =>
      changed(at("settings", "tls", name), { value: file && resolve(cwd, file), former }),
    ),
    ...changed(at("settings", "tls", "verify"), {
      value: insecure === true ? false : isVerified,
      former: tls?.verify,
    }),
  ];
}

/** A new model gets a new entry: those that are there stay. */
async function modelChanges(
  answer: ModelAnswer,
  config: Config,
  seal: ChannelPlace["seal"],
): Promise<readonly Change[]> {
  const used = modelInUse(config);
  const path = ["agents", "defaults", "model_name"];
  if (answer.kind === "offline") return [];
  if (answer.kind === "present") return changed(path, { value: answer.name, former: used });
  const { model, apiBase, key } = answer;
  const index = config.model_list.length;
  const name = freeName(model, config);
  const entry = { model_name: name, model, ...(apiBase === "" ? {} : { api_base: apiBase }) };
  const keys = key === undefined ? [] : [await seal(key)];
  return [
    { path: ["model_list", index], value: entry },
    ...changed(path, { value: name, former: used }),
    ...(keys.length === 0
      ? []
      : [{ path: ["model_list", index, "api_keys"], value: keys, isSecret: true } as const]),
  ];
}

/** Not taken yet; without characters that the notation of keys uses. */
function freeName(model: string, { model_list }: Config): string {
  const base = model_list.length === 0 ? "main" : model.replaceAll(/[^\w-]+/g, "-");
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? base : `${base}-${number}`;
    if (!model_list.some(({ model_name }) => model_name === name)) return name;
  }
}

/** Another layer can win over the files, and a file of an old version can have another form. */
function checkEffect(
  { config, file }: LoadedConfig,
  { connection, model }: Answers,
  channel: string,
): void {
  const { settings } = config.channels.find(({ name }) => name === channel) ?? {};
  const isConnected =
    settings?.broker.join() === connection.broker && settings.agent_id === connection.agent;
  const isModel = (model.kind === "offline") === (modelInUse(config) === undefined);
  if (isConnected && isModel) return;
  throw new Failure("usage", "the answers would have no effect, so nothing was written", {
    why: `the environment, or the form of ${file}, says otherwise`,
    remedy: "picoclaw config show --origin shows where each value comes from",
  });
}

/** In a file of version 0 a `model_list` takes the place of all `providers`. */
function checkModelsStay({ model_list: former }: Config, { config, file }: LoadedConfig): void {
  const lost = former.filter(
    ({ model, model_name }) =>
      !config.model_list.some((one) => one.model === model && one.model_name === model_name),
  );
  if (lost.length === 0) return;
  const names = lost.map(({ model_name }) => model_name).join(", ");
  throw new Failure("usage", `another model would remove ${names}, so nothing was written`, {
    why: `${file} is of version 0, which has providers in place of model_list`,
    remedy: "move them to model_list by hand, or keep the model that is there",
  });
}
