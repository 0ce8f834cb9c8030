import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { AgentDefaults } from "../../config/contract.ts";
import { entriesNamed, usable, whyUnusable } from "./names.ts";
import type { OpenedEntry } from "./names.ts";

interface WarnOptions {
  readonly defaults: AgentDefaults;
  readonly log: Log;
}

/**
 * Tells once, at start, what of the models in use cannot be used: names that lead nowhere, and entries
 * that are left out among others of their name. They are no reason not to start.
 */
export function warnOfUnusable(
  current: string,
  entries: readonly OpenedEntry[],
  { defaults: { model_fallbacks, routing }, log }: WarnOptions,
): void {
  const isDead = (name: string): boolean => usable(entriesNamed(name, entries)).length === 0;
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
    log.warn("no question is routed to a light model", { light_model, why });
  }
  const names = [current, ...fallbacks, ...(enabled ? [light_model] : [])];
  const alive = names.filter((name) => !isDead(name));
  for (const one of new Set(alive.flatMap((name) => entriesNamed(name, entries)))) {
    if (!one.entry.enabled || !(one.opened instanceof Failure)) continue;
    log.warn("an entry of model_list is left out", { why: one.opened.message });
  }
}
