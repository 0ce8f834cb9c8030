import { resolve } from "node:path";
import { Failure } from "../../base/failure.ts";
import type { Config, ModelEntry, MqttChannel } from "../../config/contract.ts";
import { readSecretFile } from "../../config/files.ts";
import { urlSecrets } from "../../config/secrets.ts";
import type { Context } from "../context.ts";
import { readMessage } from "../message.ts";
import { askHidden, askLine } from "../terminal/prompt.ts";
import { baseIn, type Discovery, keyVariableOf } from "./discovery.ts";

/** The connection to set up. */
export interface ConnectionAnswers {
  readonly broker: string;
  readonly agent: string;
  /** Undefined for none. */
  readonly user: string | undefined;
  /** Undefined if it stays as it is. */
  readonly password: string | undefined;
}

/** The model to set up: an entry of the configuration, a new one, or none. */
export type ModelAnswer =
  | { readonly kind: "present"; readonly name: string }
  | {
      readonly kind: "new";
      readonly model: string;
      readonly apiBase: string;
      readonly key: string | undefined;
    }
  | { readonly kind: "offline" };

/** Asks on the terminal, or takes defaults. */
export interface Asker {
  readonly isInteractive: boolean;
  /** The flag's value, what was typed, or the default. */
  text(given: string | undefined, question: string, otherwise: string): Promise<string>;
  /** Without echo; undefined for nothing, and if nobody can be asked. */
  secret(question: string): Promise<string | undefined>;
}

const NO_USER = "none";
const OFFLINE = "offline";
/** Bytes of a key. */
const MAX_KEY = 65_536;

/** Throws a usage `Failure` that names the missing flags, if nobody can be asked. */
export function createAsker({ host, flags, signal, redactor }: Context): Asker {
  const readsKey = flags.text("api-key-file") === "-";
  const canAsk = host.stdin.isTTY && host.stderr.isTTY && !readsKey;
  const isInteractive = canAsk && !flags.has("yes");
  const missing = (["broker", "agent", "model"] as const).filter((name) => !flags.text(name));
  if (!canAsk && !flags.has("yes") && missing.length > 0) {
    const names = missing.map((name) => `--${name}`).join(", ");
    throw new Failure("usage", `there is no terminal to ask on, and flags are missing: ${names}`, {
      remedy: "add them, or --yes to take the defaults",
    });
  }
  return {
    isInteractive,
    async text(given, question, otherwise) {
      if (given !== undefined) return given;
      if (!isInteractive) return otherwise;
      return (await askLine(host, `${question} [${otherwise}] `, signal)).trim() || otherwise;
    },
    async secret(question) {
      if (!isInteractive) return undefined;
      const typed = (await askHidden(host, question, signal)).trim();
      redactor.add([typed]);
      return typed === "" ? undefined : typed;
    },
  };
}

/** What holds already, or was found, is the default. */
export async function askConnection(
  context: Context,
  asker: Asker,
  { hasBroker }: Pick<Discovery, "hasBroker">,
  present: MqttChannel["settings"] | undefined,
): Promise<ConnectionAnswers> {
  const { flags } = context;
  const found = hasBroker ? "tcp://localhost:1883" : "embedded";
  const likely = present?.broker.join() ?? found;
  const broker = await asker.text(flags.text("broker"), "MQTT broker", likely);
  if (urlSecrets(broker).some((secret) => secret !== "")) {
    throw new Failure("usage", "the address of the broker holds a password", {
      remedy: "leave it out, and give it with --user and --password-file, or type it when asked",
    });
  }
  const agent = await asker.text(flags.text("agent"), "Agent id", present?.agent_id ?? "assistant");
  const former = present?.username?.reveal();
  const user = await askUser(flags.text("user"), asker, { broker, former });
  const asked = user === former ? undefined : user;
  return { broker, agent, user, password: await askPassword(context, asker, asked) };
}

/** The built-in broker serves this machine, and needs no users: nobody is asked for one. */
async function askUser(
  given: string | undefined,
  asker: Asker,
  { broker, former }: { readonly broker: string; readonly former: string | undefined },
): Promise<string | undefined> {
  const isOwn = broker.startsWith("embedded") && former === undefined;
  const named = given ?? (isOwn ? NO_USER : undefined);
  const word = await asker.text(named, "User at the broker", former ?? NO_USER);
  return word === NO_USER ? undefined : word;
}

/** From the file of the flag; typed, for a user who is new. */
async function askPassword(
  { host, flags, redactor }: Context,
  asker: Asker,
  user: string | undefined,
): Promise<string | undefined> {
  const file = flags.text("password-file");
  if (file === undefined) return user && (await asker.secret(`Password of ${user} (not shown): `));
  const password = secretIn(resolve(host.cwd, file), "--password-file");
  redactor.add([password]);
  return password;
}

function secretIn(file: string, flag: string): string {
  try {
    const secret = readSecretFile(file).trim();
    if (secret !== "") return secret;
  } catch (error) {
    throw new Failure("usage", `${flag}: ${file} cannot be read`, { cause: error });
  }
  throw new Failure("usage", `${flag}: ${file} is empty`);
}

/** The name of the entry that answers now; undefined if that is the offline agent. */
export function modelInUse({ agents, model_list }: Config): string | undefined {
  const { model_name: named } = agents.defaults;
  const used = model_list.find(({ enabled, model_name }) =>
    named === "" ? enabled : model_name === named,
  );
  return used?.model_name;
}

/** `refused` was tried and did not work: it is no longer the default. */
export async function askModel(
  context: Context,
  asker: Asker,
  { models }: Discovery,
  { config, refused }: { readonly config: Config; readonly refused?: string | undefined },
): Promise<ModelAnswer> {
  const { flags } = context;
  const inUse = modelInUse(config);
  const found = models.find(({ model }) => model !== refused);
  const given = refused === undefined ? flags.text("model") : undefined;
  const word = await asker.text(given, "Model", inUse ?? found?.model ?? OFFLINE);
  if (word === OFFLINE) {
    if (inUse === undefined) return { kind: "offline" };
    throw new Failure("usage", "the offline agent answers only if there is no model", {
      why: `the configuration has the model ${inUse}`,
      remedy: "remove it from model_list in config.json, or keep it",
    });
  }
  const { model_list } = config;
  if (model_list.some(({ model_name }) => model_name === word)) {
    return { kind: "present", name: word };
  }
  const seen = models.find(({ model }) => model === word);
  const base = flags.text("api-base");
  const apiBase = base ?? seen?.apiBase ?? baseIn(context.host.env, word);
  const key = await keyFor(context, word);
  const same = model_list.find((entry) => isSame(entry, { model: word, apiBase, key }));
  if (same !== undefined) return { kind: "present", name: same.model_name };
  return { kind: "new", model: word, apiBase, key };
}

function isSame(
  { model, provider, api_base, api_keys }: ModelEntry,
  wanted: { readonly model: string; readonly apiBase: string; readonly key: string | undefined },
): boolean {
  const names = [model, `${provider}/${model}`];
  const hasKey = wanted.key === undefined || api_keys.some((key) => key.reveal() === wanted.key);
  return names.includes(wanted.model) && api_base === wanted.apiBase && hasKey;
}

/** A key of the environment goes to no server that a flag names. */
async function keyFor(context: Context, model: string): Promise<string | undefined> {
  const { host, flags, redactor, signal } = context;
  const file = flags.text("api-key-file");
  const limits = { maxBytes: MAX_KEY, signal };
  const variable =
    flags.text("api-base") === undefined ? keyVariableOf(model, host.env) : undefined;
  const key =
    file === "-"
      ? (await readMessage({ from: "stdin" }, host, limits)).trim()
      : file === undefined
        ? variable && host.env[variable]?.trim()
        : secretIn(resolve(host.cwd, file), "--api-key-file");
  if (key !== undefined) redactor.add([key]);
  return key;
}
