import { Failure } from "../../base/failure.ts";
import { nearestWord } from "../../base/spelling.ts";
import { truncate } from "../../base/truncate.ts";
import type { ModelEntry } from "../../config/contract.ts";
import type { Candidate, ModelName } from "./candidate.ts";

/** An entry of `model_list`, and what came of opening it. */
export interface OpenedEntry {
  readonly entry: ModelEntry;
  /** A failure of code `config` where the entry cannot work. */
  readonly opened: Candidate | Failure;
}

/** Characters of a name from outside that are said back. */
const MAX_QUOTED = 60;

/**
 * The entries that a name means: those of that `model_name`, else those whose model has that id, with
 * or without its provider. Entries of one name only: these are alike and share the questions.
 */
export function entriesNamed(name: string, entries: readonly OpenedEntry[]): OpenedEntry[] {
  const named = entries.filter(({ entry }) => entry.model_name === name);
  if (named.length > 0) return named;
  const identified = entries.filter((one) => idsOf(one).includes(name));
  const lead = identified.find((one) => usable([one]).length > 0) ?? identified[0];
  return identified.filter(({ entry }) => entry.model_name === lead?.entry.model_name);
}

function idsOf({ entry, opened }: OpenedEntry): string[] {
  const ids = [entry.model, `${entry.provider}/${entry.model}`];
  if (!(opened instanceof Failure)) ids.push(`${opened.name.provider}/${opened.name.model}`);
  return ids;
}

/** Those that are switched on and can work. */
export function usable(entries: readonly OpenedEntry[]): Candidate[] {
  return entries
    .filter(({ entry }) => entry.enabled)
    .map(({ opened }) => opened)
    .filter((opened): opened is Candidate => !(opened instanceof Failure));
}

/** Why a name has no entry that can be asked. */
export function whyUnusable(name: string, entries: readonly OpenedEntry[]): string {
  const named = entriesNamed(name, entries);
  const failure = named.map(({ opened }) => opened).find((opened) => opened instanceof Failure);
  if (named.length === 0) return "it is not in model_list";
  if (named.every(({ entry }) => !entry.enabled)) return "it is not enabled in model_list";
  return failure?.message ?? "it cannot be used";
}

/** `agents.defaults.model_name` names nothing. */
export function unknownModel(name: string, entries: readonly OpenedEntry[]): Failure {
  const names = entries.map(({ entry }) => entry.model_name);
  const nearest = nearestWord(name, names);
  return new Failure(
    "config",
    `agents.defaults.model_name is ${JSON.stringify(name)}, which is not in model_list`,
    {
      why: entries.length === 0 ? "model_list is empty" : `known are ${listed(names)}`,
      remedy:
        nearest === undefined
          ? "add it to model_list, or leave model_name empty"
          : `did you mean ${nearest}?`,
    },
  );
}

/** A name that someone wants to switch to cannot be used. */
export function unusableModel(
  name: string,
  entries: readonly OpenedEntry[],
  known: readonly ModelName[],
): Failure {
  const names = known.map((model) => model.name);
  const nearest = nearestWord(name, names);
  const quoted = JSON.stringify(truncate(name, MAX_QUOTED).toWellFormed());
  return new Failure("usage", `there is no model ${quoted} to switch to`, {
    why: whyUnusable(name, entries),
    remedy: nearest === undefined ? `known are ${listed(names)}` : `did you mean ${nearest}?`,
  });
}

function listed(words: readonly string[]): string {
  const names = [...new Set(words)];
  const more = names.length > 8 ? ` and ${names.length - 8} more` : "";
  return names.slice(0, 8).join(", ") + more;
}
