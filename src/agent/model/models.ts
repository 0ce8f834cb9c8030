import { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config, ModelEntry } from "../../config/contract.ts";
import type { Candidate, ModelName } from "./candidate.ts";
import { sharedWindow } from "./context-window.ts";
import type { ContextWindow } from "./context-window.ts";
import type { Fetch, Model } from "./contract.ts";
import {
  candidatesOf,
  entriesNamed,
  unknownModel,
  unusableModel,
  usable,
  usableNamed,
  whyUnusable,
  openCandidate,
} from "./entries.ts";
import type { OpenedEntry, OpenOptions } from "./entries.ts";
import { ModelMemory } from "./memory.ts";
import type { LearnedStore } from "./memory.ts";
import { createRouter, isLight } from "./router.ts";
import type { RoutedTurn } from "./router.ts";

/** The models of a configuration, and the current one. */
export interface Models {
  /** The model for one turn: chosen once, so that all its calls go to the same model unless it fails. */
  readonly forTurn: (turn: RoutedTurn) => Model;
  /** The model for a task: never the light one. */
  readonly forTask: () => Model;
  /** The model for summaries: chosen for each call, never the light one. */
  readonly main: Model;
  /** The current model. */
  readonly current: () => ModelName;
  /** The context window of the current model, and where its size comes from. Never blocks. */
  readonly window: () => ContextWindow;
  /** Estimated tokens that a conversation may have in it, beside the prompt, the tools and the answer. */
  readonly room: () => number;
  /** Reads what former processes learned; undefined once that is done. Never rejects. */
  readonly load: () => Promise<void> | undefined;
  /** Resolves when what was learned is written. */
  readonly close: () => Promise<void>;
  /** The models that `switchTo` accepts, in the order of `model_list`. */
  readonly list: () => readonly ModelName[];
  /**
   * Switches to another model, for everyone and from the next turn on, until the program ends. Throws a
   * `Failure` of code `usage` for a name that cannot be used.
   */
  readonly switchTo: (name: string) => { readonly from: ModelName; readonly to: ModelName };
}

export interface ModelsOptions {
  /** Keeps what is learned about models; in memory only if left out. */
  readonly learned?: LearnedStore | undefined;
  readonly config: Pick<Config, "agents" | "model_list">;
  readonly fetch: Fetch;
  readonly log: Log;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
  readonly pause?: typeof pause;
}

/** Entries of one name, which share the calls. */
type Group = readonly [Candidate, ...Candidate[]];

/**
 * Opens the models of `model_list`. Sends nothing. Returns undefined if none can be used. Throws a `Failure`
 * of code `config` if `agents.defaults.model_name` names one that cannot work.
 */
export function openModels(options: ModelsOptions): Models | undefined {
  const { config, log } = options;
  const { defaults } = config.agents;
  const settings = {
    ...options,
    fetch: loggedFetch(options.fetch, log),
    defaults,
    memory: new ModelMemory(options.learned, log),
    now: options.now ?? (() => performance.now()),
    pause: options.pause ?? pause,
  };
  const entries = openEntries(config.model_list, settings);
  const first = firstGroup(defaults.model_name, entries, log);
  if (first === undefined) return undefined;
  const { name, provider } = first[0].name;
  log.info("the agent answers with a model", { model: name, protocol: provider });
  warnOfUnusable(name, entries, settings);
  return modelsOf(first, entries, settings);
}

/** Logs where a call went and its status: no query, no header, no text. */
function loggedFetch(fetch: Fetch, log: Log): Fetch {
  return async (url, init) => {
    const response = await fetch(url, init);
    const { origin, pathname } = new URL(url);
    log.debug("a model's server answered", { url: origin + pathname, status: response.status });
    return response;
  };
}

function modelsOf(first: Group, entries: readonly OpenedEntry[], settings: OpenOptions): Models {
  const { routing } = settings.defaults;
  const light = routing.enabled ? usableNamed(routing.light_model, entries) : [];
  const openTurn = createTurnOpener(entries, settings);
  let group = first;
  const list = (): readonly ModelName[] => namesOf([...usable(entries), ...group]);
  return {
    forTurn(turn) {
      const isForLight = light.length > 0 && isLight(turn, routing.threshold);
      return openTurn(group, isForLight ? light : []);
    },
    forTask: () => openTurn(group, []),
    main: (question) => openTurn(group, [])(question),
    current: () => group[0].name,
    window: () => sharedWindow(group.map(({ window }) => window)),
    load: () => settings.memory.load(),
    async close() {
      await Promise.all(candidatesOf(entries).map((candidate) => candidate.idle()));
      await settings.memory.close();
    },
    room: () => Math.min(...group.map(({ window }) => window.room())),
    list,
    switchTo(name) {
      const found = groupOf(usableNamed(name, entries));
      if (found === undefined) throw unusableModel(name, entries, list());
      const from = group[0].name;
      group = found;
      // The switch says that it works again.
      for (const candidate of found) candidate.clearCooldown();
      return { from, to: group[0].name };
    },
  };
}

/**
 * Orders the candidates of a turn: the light ones, the current ones, their fallbacks, the common fallbacks.
 * Entries of one name take turns: the one whose last turn is the longest ago comes first. If none fails, that
 * is round robin.
 */
function createTurnOpener(entries: readonly OpenedEntry[], settings: OpenOptions) {
  /** The number of the last turn that began with an entry, or moved to it. */
  const turns = new Map<Candidate, number>();
  let count = 0;
  const ordered = (group: readonly Candidate[]): Candidate[] =>
    group.toSorted((left, right) => (turns.get(left) ?? 0) - (turns.get(right) ?? 0));
  const picked = (candidate: Candidate): void => {
    count += 1;
    turns.set(candidate, count);
  };
  return (group: Group, light: readonly Candidate[]): Model => {
    const main = ordered(group);
    const { model_fallbacks } = settings.defaults;
    const fallbacks = [...main.flatMap((candidate) => candidate.fallbacks), ...model_fallbacks];
    const behind = fallbacks.map((name) => usableNamed(name, entries));
    const candidates = [...ordered(light), ...main, ...behind.flatMap(ordered)];
    picked(candidates[0] ?? group[0]);
    return createRouter({
      ...settings,
      candidates: [...new Set(candidates)],
      light: new Set(light.filter((candidate) => !main.includes(candidate))),
      onMove: picked,
    });
  };
}

/** Each name once: entries of one name are one model to the user. */
function namesOf(candidates: readonly Candidate[]): ModelName[] {
  const names = new Map<string, ModelName>();
  for (const { name } of candidates) if (!names.has(name.name)) names.set(name.name, name);
  return [...names.values()];
}

function openEntries(entries: readonly ModelEntry[], options: OpenOptions): OpenedEntry[] {
  return entries.map((entry) => {
    const twins = entries.filter(({ model_name }) => model_name === entry.model_name);
    const twin = twins.length > 1 ? twins.indexOf(entry) : undefined;
    try {
      return { entry, opened: openCandidate(entry, twin, options) };
    } catch (thrown) {
      if (thrown instanceof Failure && thrown.code === "config") return { entry, opened: thrown };
      throw thrown;
    }
  });
}

/** The entries to start with: the named ones, or the first ones that can work. */
function firstGroup(name: string, entries: readonly OpenedEntry[], log: Log): Group | undefined {
  if (name !== "") return namedGroup(name, entries);
  const [first] = usable(entries);
  if (first !== undefined) return groupOf(usableNamed(first.name.name, entries));
  const enabled = entries.filter(({ entry }) => entry.enabled);
  if (enabled.length > 0) {
    const names = [...new Set(enabled.map(({ entry }) => entry.model_name))];
    const why = names.map((one) => whyUnusable(one, entries)).slice(0, 3);
    log.warn("no entry of model_list can be used", {
      why: why.join("; "),
      names: names.join(", "),
    });
  }
  return undefined;
}

/** An entry that is named is used even if it is switched off. */
function namedGroup(name: string, entries: readonly OpenedEntry[]): Group {
  const named = entriesNamed(name, entries);
  const group = groupOf(usable(named));
  if (group !== undefined) return group;
  const chosen = named.find(({ entry }) => entry.enabled) ?? named[0];
  if (chosen === undefined) throw unknownModel(name, entries);
  if (chosen.opened instanceof Failure) throw chosen.opened;
  return [chosen.opened];
}

function groupOf([first, ...others]: readonly Candidate[]): Group | undefined {
  return first === undefined ? undefined : [first, ...others];
}

/**
 * Warns once, at the start, of models in use that cannot be used: names without an entry, and entries that
 * are left out among others of their name. The program starts all the same.
 */
function warnOfUnusable(
  current: string,
  entries: readonly OpenedEntry[],
  { defaults: { model_fallbacks, routing }, log }: OpenOptions,
): void {
  const isDead = (name: string): boolean => usableNamed(name, entries).length === 0;
  const fallbacks = new Set([
    ...usable(entries).flatMap((candidate) => candidate.fallbacks),
    ...model_fallbacks,
  ]);
  for (const fallback of fallbacks) {
    if (!isDead(fallback)) continue;
    log.warn("a fallback cannot be used", { fallback, why: whyUnusable(fallback, entries) });
  }
  const { enabled, light_model } = routing;
  if (enabled && isDead(light_model)) {
    const why = light_model === "" ? "light_model is empty" : whyUnusable(light_model, entries);
    log.warn("light questions are not routed to another model", { light_model, why });
  }
  const names = [current, ...fallbacks, ...(enabled ? [light_model] : [])];
  const alive = names.filter((name) => !isDead(name));
  for (const one of new Set(alive.flatMap((name) => entriesNamed(name, entries)))) {
    if (!one.entry.enabled || !(one.opened instanceof Failure)) continue;
    log.warn("an entry of model_list is left out", { why: one.opened.message });
  }
}
