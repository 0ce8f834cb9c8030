import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { nearestWord } from "../../base/spelling.ts";
import type { Config, ModelEntry } from "../../config/contract.ts";
import { isUsable } from "./endpoint.ts";

/**
 * The entry that answers: the one that `agents.defaults.model_name` names (by `model_name`, or by
 * `model` as Go PicoClaw allows), else the first enabled one that can work. Undefined where there is
 * none. Throws a `Failure` of code `config` for a name that names nothing.
 */
export function chooseModel(
  config: Pick<Config, "agents" | "model_list">,
  log: Log,
): ModelEntry | undefined {
  const name = config.agents.defaults.model_name;
  if (name !== "") return namedModel(name, config.model_list);
  const enabled = config.model_list.filter((entry) => entry.enabled);
  const chosen = enabled.find((entry) => isUsable(entry));
  if (chosen === undefined && enabled.length > 0) {
    const names = enabled.map((entry) => entry.model_name).join(", ");
    log.warn("no entry of model_list can be used: each lacks a key or its protocol", { names });
  }
  return chosen;
}

function namedModel(name: string, entries: readonly ModelEntry[]): ModelEntry {
  const named = entries.filter((entry) => entry.model_name === name);
  const candidates = named.length > 0 ? named : entries.filter((entry) => entry.model === name);
  const enabled = candidates.filter((entry) => entry.enabled);
  const chosen = enabled.find((entry) => isUsable(entry)) ?? enabled[0] ?? candidates[0];
  if (chosen !== undefined) return chosen;
  const nearest = nearestWord(
    name,
    entries.map((entry) => entry.model_name),
  );
  throw new Failure(
    "config",
    `agents.defaults.model_name is ${JSON.stringify(name)}, which is not in model_list`,
    {
      why: entries.length === 0 ? "model_list is empty" : `known are ${knownNames(entries)}`,
      remedy:
        nearest === undefined
          ? "add it to model_list, or leave model_name empty"
          : `did you mean ${nearest}?`,
    },
  );
}

function knownNames(entries: readonly ModelEntry[]): string {
  const names = [...new Set(entries.map((entry) => entry.model_name))];
  const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
  return names.slice(0, 8).join(", ") + more;
}
