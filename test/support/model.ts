import assert from "node:assert/strict";
import type { Fetch, Model, ModelCall } from "../../src/agent/model/contract.ts";
import { openModels } from "../../src/agent/model/models.ts";
import type { ModelsOptions } from "../../src/agent/model/models.ts";
import { SILENT } from "../../src/base/log.ts";
import type { AgentDefaults, ModelEntry } from "../../src/config/contract.ts";
import {
  agentConfig,
  agentDefaults,
  collect,
  modelEntry,
  modelFailureOf,
  questionOf,
} from "./agent-config.ts";
import { createMemoryLog } from "./memory-log.ts";

/** What a test says of an entry of `model_list`; the rest is as `modelEntry` has it. */
export type EntryChanges = NonNullable<Parameters<typeof modelEntry>[0]>;

export interface OneModel extends Partial<Omit<ModelsOptions, "config">> {
  readonly entry?: EntryChanges | undefined;
  readonly defaults?: Partial<AgentDefaults> | undefined;
}

/** The model of a configuration with this one entry. */
export function openModel({ entry, defaults, ...options }: OneModel): Model {
  const full = modelEntry(entry);
  const agents = { defaults: agentDefaults({ ...defaults, model_name: full.model_name }) };
  const config = { agents, model_list: [full] };
  const models = openModels({ fetch, log: SILENT, ...options, config });
  if (models === undefined) throw new Error("the entry cannot be used");
  return models.main;
}

/** What a model sends, without a server: the connection is refused after the request was seen. */
export async function sentBy(
  { entry, defaults }: Pick<OneModel, "entry" | "defaults">,
  call: Partial<ModelCall> = {},
) {
  const seen: { readonly url: string; readonly body: string }[] = [];
  const look: Fetch = async (url, { body }) => {
    seen.push({ url, body: typeof body === "string" ? body : "" });
    throw new Error("seen");
  };
  const log = createMemoryLog();
  const model = openModel({
    entry,
    defaults: { max_llm_retries: 0, ...defaults },
    fetch: look,
    log,
  });
  await modelFailureOf(collect(model({ ...questionOf(), ...call })));
  return { ...(seen[0] ?? assert.fail("nothing was sent")), log };
}

/** The models of these entries, with a clock of their own and a log that remembers. */
export function openTestModels(
  entries: readonly ModelEntry[],
  defaults: Partial<AgentDefaults> = {},
  options: Pick<ModelsOptions, "pause"> = {},
) {
  const clock = createClock();
  const log = createMemoryLog();
  const config = agentConfig(entries, defaults);
  const models = openModels({ config, fetch, log, now: clock.now, pause: clock.pause, ...options });
  assert.ok(models !== undefined);
  return { models, clock, log };
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
