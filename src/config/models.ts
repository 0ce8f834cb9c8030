import { Secret } from "../base/secret.ts";
import { nearestWord } from "../base/spelling.ts";
import { GO_CLOUD_HOSTS } from "./compat/go/keys.ts";
import type { ModelEntry } from "./contract.ts";
import type { Findings } from "./findings.ts";
import { didYouMean, quotable } from "./findings.ts";
import type { MODEL_LIST } from "./keys/agents.ts";
import type { ValuesOf } from "./keys/key.ts";
import { childOf, textAt } from "./tree.ts";
import type { Branch, Tree } from "./tree.ts";

type Model = ValuesOf<typeof MODEL_LIST.each.rows>;

/** Servers that run locally and need no key. */
const KEYLESS = new Set(["ollama", "vllm", "lmstudio", "gpt4free", "g4f"]);

/** Checks of models that need more than one value. */
export function checkModels(tree: Branch, findings: Findings): void {
  const models = tree.entries.get("model_list");
  const items = models?.kind === "list" ? models.items : [];
  for (const [index, entry] of items.entries()) {
    if (entry.kind !== "branch") continue;
    for (const key of ["model_name", "model"]) {
      const node = childOf(entry, key);
      if (node === undefined || (node.kind === "leaf" && node.text.trim() === "")) {
        findings.problem(["model_list", index], `has no ${key}`);
      }
    }
  }
  checkModelName(tree, items, findings);
}

function checkModelName(tree: Branch, items: readonly Tree[], findings: Findings): void {
  const path = ["agents", "defaults", "model_name"];
  const name = textAt(tree, ...path);
  if (name === "") return;
  if (items.length === 0) {
    findings.warn(
      path,
      `names ${quotable(name)}, and model_list is empty`,
      "add the model to model_list, with its api_keys in .security.yml",
    );
    return;
  }
  const named = items.filter((entry) => isNameOf(name, entry));
  if (named.length === 0) {
    const names = items.map((entry) => textAt(entry, "model_name"));
    const meant = didYouMean(nearestWord(name, names));
    const allowed = "a model_name of model_list, or nothing";
    findings.problem(path, `found "${quotable(name)}", allowed is ${allowed}${meant}`);
  } else if (named.every((entry) => textAt(entry, "enabled") === "false")) {
    findings.warn(
      path,
      `names ${quotable(name)}, which is not enabled in model_list; it is used all the same`,
      "remove its `enabled: false`, or name another model",
    );
  }
}

/** Whether a name is the entry's `model_name` or, as in Go PicoClaw, its `model` with or without the protocol. */
export function isNameOf(name: string, entry: Tree): boolean {
  return textAt(entry, "model_name") === name || isModelId(name, textAt(entry, "model"));
}

function isModelId(name: string, model: string): boolean {
  return model === name || model.endsWith(`/${name}`);
}

/** The entries with `enabled` decided: without it, an entry needs a key or a server without keys. */
export function modelEntries(models: readonly Model[]): ModelEntry[] {
  return models.map((model) => {
    const api_keys = model.api_keys.flatMap((key) => {
      const text = key.reveal().trim();
      return text === "" ? [] : [new Secret(text)];
    });
    return { ...model, api_keys, enabled: model.enabled ?? isUsable(model, api_keys.length > 0) };
  });
}

function isUsable(model: Model, hasKey: boolean): boolean {
  if (hasKey || model.model_name === "local-model") return true;
  if (model.api_base !== "") return !GO_CLOUD_HOSTS.has(URL.parse(model.api_base)?.hostname ?? "");
  const protocol = model.provider || (model.model.split("/")[0] ?? "");
  return KEYLESS.has(protocol.trim().toLowerCase());
}

/** The `model_name` of the entry that a name stands for; empty if there are no entries. */
export function entryNamed(name: string, models: readonly ModelEntry[]): string {
  if (models.length === 0) return "";
  const trimmed = name.trim();
  if (trimmed === "" || models.some(({ model_name }) => model_name === trimmed)) return trimmed;
  return models.find(({ model }) => isModelId(trimmed, model))?.model_name ?? trimmed;
}
