import type { Check } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT } from "../../base/log.ts";
import { isLoopback } from "../../base/url.ts";
import type { Config, ModelEntry } from "../../config/contract.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Models } from "./models.ts";

type Settings = Pick<Config, "agents" | "model_list">;

const NAME = "model";

/** Checks which model would be called, or why none would, and which are called without TLS. Sends nothing. */
export async function modelChecks(config: Settings): Promise<readonly Check[]> {
  if (config.model_list.length === 0) return [offline("no model is configured")];
  const [{ openModels }, { endpointOf }] = await Promise.all([
    import("./models.ts"),
    import("./endpoint.ts"),
  ]);
  try {
    const models = openModels({ config, fetch: globalThis.fetch, log: SILENT });
    if (models === undefined) return [offline(whyNone(config.model_list))];
    const usable = config.model_list.flatMap((entry) => endpointIn(entry, endpointOf));
    return [currentCheck(models, config, usable), ...plainHttpChecks(models, usable)];
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    return [{ name: NAME, result: "fail", message: thrown.message }];
  }
}

/** No warning: the configuration gives one at the start. */
function offline(why: string): Check {
  const message = `no model is used because ${why}: the offline agent answers questions about its device`;
  return { name: NAME, result: "ok", message };
}

function whyNone(entries: readonly ModelEntry[]): string {
  return entries.some(({ enabled }) => enabled)
    ? "each enabled entry of model_list lacks a key or its protocol"
    : "no entry of model_list is enabled or has a key";
}

/** An entry that can be called. */
interface NamedBase {
  readonly name: string;
  readonly base: string;
}

/** Empty for an entry that cannot work: others of its name are used. */
function endpointIn(entry: ModelEntry, endpointOf: (entry: ModelEntry) => Endpoint): NamedBase[] {
  try {
    return [{ name: entry.model_name, base: endpointOf(entry).base }];
  } catch (thrown) {
    if (thrown instanceof Failure) return [];
    throw thrown;
  }
}

/** Warns if no model is named and several could be used: the first one is a guess. */
function currentCheck(models: Models, { agents }: Settings, places: readonly NamedBase[]): Check {
  const current = models.current();
  const base = places.find(({ name }) => name === current.name)?.base ?? "";
  const { name, provider, model } = current;
  const message = `${JSON.stringify(name)} answers (${provider}, ${model}) at ${base}`;
  const count = models.list().length;
  if (agents.defaults.model_name !== "" || count === 1) {
    return { name: NAME, result: "ok", message };
  }
  return {
    name: NAME,
    result: "warn",
    message: `${message}: it is the first of ${count} usable models, and none is named`,
    remedy: "name one in agents.defaults.model_name",
  };
}

/** Warns of models on other machines over plain HTTP: everyone on the way can read the messages and the key. */
function plainHttpChecks(models: Models, places: readonly NamedBase[]): Check[] {
  const names = new Set(models.list().map(({ name }) => name));
  return places.flatMap(({ name, base }) => {
    const url = URL.parse(base);
    const isPlain = url?.protocol === "http:" && !isLoopback(url.hostname);
    if (!names.has(name) || !isPlain) return [];
    return [
      {
        name: `model ${name}`,
        result: "warn",
        message: `${url.host} is called over plain HTTP: others on the network can read the messages and the key`,
        remedy: "begin its api_base with https://, or reach it through a tunnel",
      },
    ];
  });
}
