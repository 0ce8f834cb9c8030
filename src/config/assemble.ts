import { dirname, join, resolve } from "node:path";
import * as v from "valibot";
import { unsupportedKeys } from "./compat/go/unsupported.ts";
import type { AgentDefaults, Config, ModelEntry } from "./contract.ts";
import type { Findings } from "./findings.ts";
import { hookSettings } from "./hooks.ts";
import { checkModels, entryNamed, modelEntries } from "./models.ts";
import { mqttChannels } from "./mqtt-channels.ts";
import { expandHome } from "./paths.ts";
import type { ConfigPaths, Surroundings } from "./paths.ts";
import { ROOT } from "./schema.ts";
import { toolProfiles } from "./tool-profiles.ts";
import { toolSettings } from "./tools-schema.ts";
import type { Branch } from "./tree.ts";
import { turnProfile } from "./turn-profile.ts";
import { unknownKeys } from "./unknown.ts";
import { inputOf } from "./values.ts";

/**
 * The configuration that a tree makes with its defaults; undefined where a value is wrong. All that
 * is wrong, and all that is odd, goes to the findings.
 */
export function assembled(
  tree: Branch,
  findings: Findings,
  place: Surroundings & ConfigPaths,
): Config | undefined {
  unknownKeys(tree, findings);
  unsupportedKeys(tree, findings);
  checkModels(tree, findings);
  const bases = { folder: dirname(place.file), userHome: place.userHome };
  const channels = mqttChannels(tree, findings, bases);
  const turn_profile = turnProfile(tree, findings);
  const hooks = hookSettings(tree, findings, place);
  const { success, output, issues } = v.safeParse(ROOT, inputOf(tree));
  findings.issues(issues, []);
  const written = success ? output.agents.defaults.workspace : "";
  const folder = workspacePath(written, findings, place);
  const profiles = toolProfiles(tree, findings, { folder, userHome: place.userHome });
  if (!success) return undefined;
  const model_list = modelEntries(output.model_list);
  const { model_name: named, ...rest } = output.agents.defaults;
  const model_name = entryNamed(named, model_list);
  // Whoever names an entry means it, also where it is switched off.
  if (model_name === "") warnOfNoModel(model_list, findings);
  const defaults: AgentDefaults = {
    ...rest,
    workspace: folder,
    model_name,
  };
  const { dimensions, dm_scope } = output.session;
  return {
    agents: { defaults: { ...defaults, ...(turn_profile && { turn_profile }) } },
    gateway: output.gateway,
    model_list,
    channels,
    tools: toolSettings(output.tools, profiles),
    session: { dimensions: dimensions ?? dm_scope },
    ...(hooks && { hooks }),
  };
}

/** A relative workspace is relative to the folder of config.json, one of a variable to where we are. */
function workspacePath(
  written: string,
  findings: Findings,
  { cwd, userHome, home, file }: Surroundings & ConfigPaths,
): string {
  if (written.trim() === "") return join(home, "workspace");
  const { from } = findings.originAt(["agents", "defaults", "workspace"]);
  return resolve(from === "environment" ? cwd : dirname(file), expandHome(written, userHome));
}

function warnOfNoModel(models: readonly ModelEntry[], findings: Findings): void {
  if (models.some(({ enabled }) => enabled)) return;
  const reason =
    models.length === 0
      ? "no model is configured"
      : "no entry of model_list is enabled or has a key";
  findings.warn(
    [],
    `${reason}, so the agent is the offline one: it answers questions about its device`,
    "add an entry to model_list, with its api_keys in .security.yml",
  );
}
