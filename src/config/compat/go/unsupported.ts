import { Failure } from "../../../base/failure.ts";
import { mqttNames } from "../../channels.ts";
import type { Findings, Problem, Warning } from "../../findings.ts";
import { lineOf, quotable } from "../../findings.ts";
import { HOOKS } from "../../keys/tools.ts";
import { isHookOn, MODEL_STAGES } from "../../tools.ts";
import { branchAt, childOf, isComment, pathText, textAt } from "../../tree.ts";
import type { Branch, Path, Tree } from "../../tree.ts";
import { isSwitchedOff } from "../../values.ts";
import { GO_SEARCHES } from "./keys.ts";

/** Reports keys of the Go program that are not built here, unless they have the Go program's defaults. */
export function unsupportedKeys(tree: Branch, findings: Findings): void {
  reportRestrictions(tree, findings);
  for (const { at, asks } of ADDITIONS) {
    const path = at.split(".");
    const node = childOf(tree, ...path);
    if (node !== undefined && asks(node)) findings.warn(path, NO_EFFECT, REMEDY);
  }
  for (const name of mqttNames(tree)) {
    const path = ["channel_list", name, "reasoning_channel_id"];
    if (textAt(tree, ...path) !== "") findings.warn(path, NO_EFFECT, REMEDY);
  }
}

const NO_EFFECT = "has no effect here";
const REMEDY = "remove the key, or run the Go program for it";

/** Restrictions of the agent. Without them, the agent could do what its owner has forbidden. */
function reportRestrictions(tree: Branch, findings: Findings): void {
  for (const { at, asks, text } of RESTRICTIONS) {
    const path = at.split(".");
    const node = childOf(tree, ...path);
    if (node !== undefined && asks(node)) findings.restriction(path, text);
  }
  restrictedAgents(tree, findings);
  boundAgents(tree, findings);
  restrictingHooks(tree, findings);
}

/** Whether a value asks for more than the default. */
type Asks = (node: Tree) => boolean;

interface Row {
  /** Keys with dots between them. */
  readonly at: string;
  readonly asks: Asks;
}

const isOn: Asks = (node) => node.kind === "leaf" && node.text === "true";

const isFilled: Asks = (node) =>
  node.kind === "leaf"
    ? !["", "false"].includes(node.text.trim())
    : node.kind === "list"
      ? node.items.length > 0
      : [...node.entries.values()].some(isFilled);

/** A number that is stricter than the limit here; 0 is the Go program's default. */
function below(limit: number): Asks {
  return (node) => node.kind === "leaf" && Number(node.text) > 0 && Number(node.text) < limit;
}

function oneOf(...words: readonly string[]): Asks {
  return (node) => node.kind === "leaf" && words.includes(node.text.trim().toLowerCase());
}

/** The agent's own limits: depth of nested tasks, tasks at the same time, minutes of a task. */
const MAX_DEPTH = 3;
const MAX_CONCURRENT = 5;
const TASK_MINUTES = 5;
const ROUTES = "routes requests to separate agents, which are not built here";

const RESTRICTIONS: readonly (Row & { readonly text: string })[] = [
  {
    at: "isolation.enabled",
    asks: isFilled,
    text: "isolates commands, which is not built here (tools.exec.sandbox does that)",
  },
  {
    at: "isolation.environment_allowlist",
    asks: () => true,
    text: "limits the environment of programs, which is not built here",
  },
  {
    at: "agents.dispatch.rules",
    asks: isFilled,
    text: ROUTES,
  },
  {
    at: "agents.defaults.subturn.default_token_budget",
    asks: below(Number.POSITIVE_INFINITY),
    text: "limits the tokens of a task, which is not built here (see gateway.limits)",
  },
  {
    at: "agents.defaults.subturn.max_depth",
    asks: below(MAX_DEPTH),
    text: `is stricter than the ${MAX_DEPTH} of this program`,
  },
  {
    at: "agents.defaults.subturn.max_concurrent",
    asks: below(MAX_CONCURRENT),
    text: `is stricter than the ${MAX_CONCURRENT} of this program`,
  },
  {
    at: "agents.defaults.subturn.default_timeout_minutes",
    asks: below(TASK_MINUTES),
    text: `is stricter than the ${TASK_MINUTES} minutes of this program`,
  },
];

/** Keys of `agents.list` that only name an agent or its model. */
const NAMING = new Set(["id", "default", "name", "model", "description"]);

/** A separate agent has only its own workspace, skills, tools and agents. */
function restrictedAgents(tree: Branch, findings: Findings): void {
  const agents = childOf(tree, "agents", "list");
  if (agents === undefined || !isFilled(agents)) return;
  if (agents.kind !== "list") {
    findings.restriction(["agents", "list"], "is not a list of agents");
    return;
  }
  let isRestricted = false;
  for (const [index, agent] of agents.items.entries()) {
    if (agent.kind !== "branch") continue;
    for (const [key, value] of agent.entries) {
      if (NAMING.has(key) || key.startsWith("_") || !isGiven(value)) continue;
      isRestricted = true;
      const text = "restricts a separate agent, which is not built here";
      findings.restriction(["agents", "list", index, key], text);
    }
  }
  if (!isRestricted) findings.warn(["agents", "list"], NO_EFFECT, REMEDY);
}

/** An empty list of skills or tools counts: it allows none. */
function isGiven(value: Tree): boolean {
  return value.kind === "list" || isFilled(value);
}

/** `bindings` (before version 3) route the requests of a channel to a separate agent, as `agents.dispatch` does. */
function boundAgents(tree: Branch, findings: Findings): void {
  const ids = new Set(itemsAt(tree, "agents", "list").map((agent) => nameAt(agent, "id")));
  for (const [index, binding] of itemsAt(tree, "bindings").entries()) {
    const id = nameAt(binding, "agent_id");
    const isOurs = ["", "*", "mqtt"].includes(nameAt(binding, "match", "channel"));
    if (isOurs && id !== "main" && ids.has(id)) findings.restriction(["bindings", index], ROUTES);
  }
}

function itemsAt(tree: Branch, ...path: readonly string[]): readonly Tree[] {
  const found = childOf(tree, ...path);
  return found?.kind === "list" ? found.items : [];
}

function nameAt(tree: Tree, ...path: readonly string[]): string {
  return textAt(tree, ...path).toLowerCase();
}

/** Hooks can deny. Those for tools are read by `hookSettings`. */
function restrictingHooks(tree: Branch, findings: Findings): void {
  for (const path of unsupportedHooks(tree)) {
    const text =
      path[1] === "builtins"
        ? "is a hook of the Go program, which is not built here"
        : "has hooks for model calls, which are not built here";
    findings.restriction(path, text);
  }
}

/**
 * The paths of hooks that restrict Go PicoClaw and are not built here: hooks compiled into it, and hooks
 * for model calls. Paths are those of version 3. Empty if hooks are off.
 */
export function unsupportedHooks(tree: Branch): readonly Path[] {
  const hooks = branchAt(tree, "hooks");
  if (hooks === undefined || isSwitchedOff(hooks, HOOKS.rows)) return [];
  const enabledIn = (key: string): [string, Tree][] => {
    const entries = [...(branchAt(hooks, key)?.entries ?? [])];
    return entries.filter(
      ([name, entry]) => !(entry.kind === "leaf" && isComment(name)) && isHookOn(entry),
    );
  };
  const processes = enabledIn("processes").filter(([, entry]) =>
    textsAt(entry, "intercept").some((stage) => MODEL_STAGES.includes(stage)),
  );
  return [
    ...enabledIn("builtins").map(([name]): Path => ["hooks", "builtins", name]),
    ...processes.map(([name]): Path => ["hooks", "processes", name, "intercept"]),
  ];
}

function textsAt(entry: Tree, key: string): string[] {
  const found = childOf(entry, key);
  const items = found?.kind === "list" ? found.items : found === undefined ? [] : [found];
  return items.flatMap((item) => (item.kind === "leaf" ? [item.text.trim()] : []));
}

const SEARCHES = Object.keys(GO_SEARCHES);
const ON_BY_DEFAULT = "sogou";

/** Additions to the agent that are not built here. */
const ADDITIONS: readonly Row[] = [
  ...rows(isOn, [
    "agents.defaults.tool_feedback.enabled",
    "devices.enabled",
    "evolution.enabled",
    "gateway.hot_reload",
    "tools.i2c.enabled",
    "tools.message.media_enabled",
    "tools.send_tts.enabled",
    "tools.serial.enabled",
    "tools.spi.enabled",
    "voice.echo_transcription",
    ...SEARCHES.filter((name) => name !== ON_BY_DEFAULT).map((name) => `tools.web.${name}.enabled`),
  ]),
  ...rows(isFilled, [
    "agents.defaults.image_model",
    "agents.defaults.image_model_fallbacks",
    "agents.defaults.split_on_marker",
    "session.identity_links",
    "voice.model_name",
  ]),
  ...rows(oneOf(...SEARCHES), ["tools.web.provider"]),
  ...rows(oneOf("all"), ["agents.defaults.steering_mode"]),
  ...rows((node) => isFilled(node) && !oneOf("legacy")(node), ["agents.defaults.context_manager"]),
];

function rows(asks: Asks, paths: readonly string[]): Row[] {
  return paths.map((at) => ({ at, asks }));
}

interface Refusal {
  /** Of code `config`; undefined without a reason to refuse. */
  readonly refusal: Failure | undefined;
  /** Restrictions that are ignored, and entries of `ignore_unsupported` that match nothing. */
  readonly ignored: readonly Warning[];
}

const ignoreRemedy = (path: string): string =>
  `remove the key, or add "${path}" to gateway.ignore_unsupported; \`picoclaw config validate\` checks again`;

/** Refuses the start of an agent because of restrictions that are not built here and not ignored. */
export function refusalOf(findings: Findings, ignored: readonly string[], file: string): Refusal {
  const { restrictions } = findings;
  const isIgnored = ({ path }: Problem): boolean =>
    ignored.some((name) => covers(name.trim(), pathText(path)));
  const refused = restrictions.filter((one) => !isIgnored(one));
  return {
    refusal: failureOf(refused, file),
    ignored: [
      ...restrictions.filter(isIgnored).map((one) => ({
        message: `${lineOf(one)} (ignored: gateway.ignore_unsupported)`,
      })),
      ...unusedNames(findings, ignored),
    ],
  };
}

/** Whether a name is the path of a key or of one above it. */
function covers(name: string, path: string): boolean {
  return path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`);
}

function unusedNames(findings: Findings, ignored: readonly string[]): Warning[] {
  const path = ["gateway", "ignore_unsupported"];
  const origin = findings.originAt(path);
  return ignored
    .filter((name) => !findings.restrictions.some((one) => covers(name.trim(), pathText(one.path))))
    .map((name) => ({
      message: lineOf({
        origin,
        path,
        text: `"${quotable(name)}" is not a restriction that is refused here`,
      }),
      remedy: "remove the name",
    }));
}

function failureOf(refused: readonly Problem[], file: string): Failure | undefined {
  const [first, ...others] = refused;
  if (first === undefined) return undefined;
  const why =
    "it restricts the agent in the Go program, and picoclaw does not start without this restriction";
  if (others.length === 0) {
    return new Failure("config", lineOf(first), {
      why,
      remedy: ignoreRemedy(pathText(first.path)),
    });
  }
  const names = [...new Set(refused.map(({ path }) => pathText(path)))];
  return new Failure(
    "config",
    `${refused.length} restrictions in ${file} are not built here, and picoclaw does not start without them`,
    { why: refused.map(lineOf).join("\n"), remedy: ignoreRemedy(names.join('", "')) },
  );
}
