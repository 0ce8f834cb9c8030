import { dirname, join } from "node:path";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { at, isObject, textAt } from "../../base/unknown.ts";
import type { Config } from "../../config/contract.ts";
import { configPaths, readText, SECURITY } from "../../config/files.ts";
import { isTableSecret, urlSecrets } from "../../config/secrets.ts";
import { checked, load, type LoadContext } from "../connection.ts";
import { stateFolderOf } from "./state-folder.ts";

/** The variables that say where the state is; the others may be wrong. */
const STATE_VARIABLE =
  /^PICOCLAW_(?:HOME|CONFIG|KEY_PASSPHRASE|AGENTS_DEFAULTS_WORKSPACE|GATEWAY_STORE\w*)$/;

export interface StateConfigOptions {
  readonly log: Log;
  /** Whether the command reads the store, and not only the files of running gateways. */
  readonly readsStore: boolean;
}

/**
 * Loads the configuration for a command that needs only to know where the state is. One that is wrong elsewhere does
 * not stop it: a warning says so, and where the state is looked for. Throws the `Failure` of one that is wrong there.
 */
export async function loadStateConfig(
  context: LoadContext,
  { log, readsStore }: StateConfigOptions,
): Promise<Config> {
  const loaded = await load(context, {});
  const isWrong = loaded instanceof Failure && loaded.code === "config";
  const { env, home, cwd } = context.host;
  if (!isWrong || (home === "" && !env["PICOCLAW_HOME"])) return checked(loaded, log).config;
  const { file } = configPaths({ env, userHome: home, cwd });
  const security = join(dirname(file), SECURITY);
  const found = await readLeniently(file);
  const { workspace, gateway } = placesIn(found);
  context.redactor.add([...secretsOf(found), ...wordsIn(readText(security))]);
  const isShared = readsStore && gateway !== undefined;
  const text = JSON.stringify({
    agents: { defaults: { workspace } },
    ...(isShared && { gateway }),
  });
  const draft = new Map([[file, text]]);
  // It can hold the password of the store.
  if (!isShared) draft.set(security, "");
  const variables = Object.entries(env).filter(
    ([name]) => !name.startsWith("PICOCLAW_") || STATE_VARIABLE.test(name),
  );
  const host = { home, cwd, env: Object.fromEntries(variables) };
  const again = await load({ ...context, host }, {}, draft);
  if (again instanceof Failure) throw loaded;
  const folder = stateFolderOf(again.config);
  const place = again.config.gateway.store === undefined ? folder : "the database of gateway.store";
  log.warn(`the configuration is wrong; the state is looked for in ${place}`, {
    why: loaded.message,
    try: "picoclaw config validate",
  });
  return again.config;
}

/** What can be read of a file that may be broken. */
async function readLeniently(file: string): Promise<unknown> {
  const text = readText(file);
  const { parse } = await import("jsonc-parser");
  return parse(typeof text === "string" ? text : "{}", [], { allowTrailingComma: true });
}

function placesIn(config: unknown) {
  const gateway = at(config, "gateway");
  const [store, store_password] = [textAt(gateway, "store"), textAt(gateway, "store_password")];
  return {
    workspace: textAt(at(at(config, "agents"), "defaults"), "workspace"),
    gateway: store === "" ? undefined : { store, ...(store_password !== "" && { store_password }) },
  };
}

/** The texts under names of secrets, also in lists: a wrong configuration tells its secrets to no redactor. */
function secretsOf(value: unknown, name = "", table = ""): readonly string[] {
  if (typeof value === "string") {
    return isTableSecret(table, name, value) ? [value] : urlSecrets(value);
  }
  if (Array.isArray(value)) return value.flatMap((one) => secretsOf(one, name));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, one]) => secretsOf(one, key, name));
}

/** The values of .security.yml, which holds nothing but secrets and user names. */
function wordsIn(text: ReturnType<typeof readText>): readonly string[] {
  if (typeof text !== "string") return [];
  return [...text.matchAll(/[:-]\s+["']?([^\s"'#]{8,})/g)].map(([, word = ""]) => word);
}
