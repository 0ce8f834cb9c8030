import type { Model } from "../../src/agent/model/contract.ts";
import { openModels } from "../../src/agent/model/models.ts";
import type { ModelsOptions } from "../../src/agent/model/models.ts";
import type { AgentDefaults, ModelEntry } from "../../src/config/contract.ts";

export interface OneModel extends Omit<ModelsOptions, "config"> {
  readonly entry: ModelEntry;
  readonly defaults: AgentDefaults;
}

/** The model of a configuration with this one entry. */
export function openModel({ entry, defaults, ...options }: OneModel): Model {
  const agents = { defaults: { ...defaults, model_name: entry.model_name } };
  const models = openModels({ ...options, config: { agents, model_list: [entry] } });
  if (models === undefined) throw new Error("the entry cannot be used");
  return models.main;
}

/** A clock that stands still until it is moved; whoever pauses moves it and goes on at once. */
export function createClock() {
  let time = 1_000_000;
  return {
    now: () => time,
    move: (milliseconds: number) => {
      time += milliseconds;
    },
    pause: async (milliseconds: number, signal: AbortSignal) => {
      signal.throwIfAborted();
      time += milliseconds;
    },
  };
}
