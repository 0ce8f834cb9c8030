import { nearestWord } from "../base/spelling.ts";
import { GO_KEYS } from "./compat/go/keys.ts";
import type { Findings } from "./findings.ts";
import { quotable } from "./findings.ts";
import { HOOK_DEFAULTS, HOOKS, PROCESS_HOOK } from "./hooks.ts";
import { CHANNEL, LIMITS, MQTT_SETTINGS, STREAMING, TLS, TOTAL_LIMITS } from "./mqtt-schema.ts";
import { AGENT_DEFAULTS, AGENT_PARTS, GATEWAY, MODEL, PRICES, ROUTING, SESSION } from "./schema.ts";
import { PROFILE, PROFILE_TOPICS } from "./tool-profile-schema.ts";
import { EXEC, READ_FILE, TOOLS, WEB } from "./tools-schema.ts";
import { pathText } from "./tree.ts";
import type { Path, Tree } from "./tree.ts";
import { TURN_PROFILE } from "./turn-profile.ts";

/** The keys of an object, and of the objects in it. */
interface Shape {
  readonly keys: readonly string[];
  readonly inside?: Readonly<Record<string, Shape>>;
  /** The shape of a list's items, and of an object's values whatever their keys. */
  readonly each?: Shape;
}

/** Go PicoClaw has both keys in each block of a turn profile. */
const BLOCK = ["mode", "allow"];

const HOOKS_SHAPE: Shape = {
  keys: Object.keys(HOOKS),
  inside: {
    defaults: { keys: Object.keys(HOOK_DEFAULTS) },
    processes: { keys: [], each: { keys: Object.keys(PROCESS_HOOK) } },
  },
};

const ROOT_SHAPE: Shape = {
  keys: [
    "agents",
    "gateway",
    "model_list",
    "channel_list",
    "session",
    "tools",
    "hooks",
    ...GO_KEYS.root,
  ],
  inside: {
    agents: {
      keys: ["defaults", ...GO_KEYS.agents],
      inside: {
        defaults: {
          keys: [
            ...Object.keys(AGENT_DEFAULTS),
            ...Object.keys(AGENT_PARTS),
            "turn_profile",
            ...GO_KEYS.agentDefaults,
          ],
          inside: {
            routing: { keys: Object.keys(ROUTING) },
            turn_profile: {
              keys: Object.keys(TURN_PROFILE),
              inside: {
                history: { keys: BLOCK },
                system_prompt: { keys: BLOCK },
                skills: { keys: BLOCK },
                tools: { keys: BLOCK },
              },
            },
          },
        },
      },
    },
    gateway: {
      keys: [...Object.keys(GATEWAY), ...GO_KEYS.gateway],
      inside: { limits: { keys: Object.keys(TOTAL_LIMITS) } },
    },
    session: { keys: [...Object.keys(SESSION), ...GO_KEYS.session] },
    hooks: HOOKS_SHAPE,
    tools: {
      keys: [...Object.keys(TOOLS), "profiles", ...GO_KEYS.tools],
      inside: {
        exec: { keys: Object.keys(EXEC) },
        read_file: { keys: Object.keys(READ_FILE) },
        web: { keys: [...Object.keys(WEB), ...GO_KEYS.web] },
      },
    },
    model_list: {
      keys: [],
      each: {
        keys: [...Object.keys(MODEL), ...GO_KEYS.model],
        inside: { prices: { keys: Object.keys(PRICES) } },
      },
    },
  },
};

const CHANNEL_SHAPE: Shape = {
  keys: [...Object.keys(CHANNEL), ...GO_KEYS.channel],
  inside: {
    settings: {
      keys: Object.keys(MQTT_SETTINGS),
      inside: {
        tls: { keys: Object.keys(TLS) },
        streaming: { keys: Object.keys(STREAMING) },
        limits: {
          keys: Object.keys(LIMITS),
          inside: { total: { keys: Object.keys(TOTAL_LIMITS) } },
        },
      },
    },
  },
};

const PROFILE_SHAPE: Shape = {
  keys: Object.keys(PROFILE),
  inside: { topics: { keys: Object.keys(PROFILE_TOPICS) } },
};

/** Warns of keys that nobody knows, outside of `channel_list`. */
export function unknownKeys(tree: Tree, findings: Findings): void {
  lookAt(tree, [], { shape: ROOT_SHAPE, findings });
}

/** Warns of keys that nobody knows in a channel of type mqtt. */
export function unknownChannelKeys(entry: Tree, path: Path, findings: Findings): void {
  lookAt(entry, path, { shape: CHANNEL_SHAPE, findings });
}

/** Warns of keys that nobody knows in a profile of tools. */
export function unknownProfileKeys(entry: Tree, path: Path, findings: Findings): void {
  lookAt(entry, path, { shape: PROFILE_SHAPE, findings });
}

interface Look {
  readonly shape: Shape;
  readonly findings: Findings;
}

function lookAt(tree: Tree, path: Path, { shape, findings }: Look): void {
  if (tree.kind === "list" && shape.each !== undefined) {
    const each = shape.each;
    tree.items.forEach((item, index) => lookAt(item, [...path, index], { shape: each, findings }));
  }
  if (tree.kind !== "branch") return;
  for (const [key, child] of tree.entries) {
    const inner = shape.inside?.[key] ?? shape.each;
    if (shape.each === undefined && !shape.keys.includes(key))
      warnOf([...path, key], { shape, findings });
    else if (inner !== undefined) lookAt(child, [...path, key], { shape: inner, findings });
  }
}

/** A key that begins with `_`, `$` or `//` is a comment to everyone. */
function warnOf(path: Path, { shape, findings }: Look): void {
  const key = String(path.at(-1));
  if (/^(?:_|\$|\/\/)/.test(key)) return;
  const nearest = nearestWord(key, shape.keys);
  if (nearest === undefined) {
    findings.warn(path, "is not a known key and has no effect");
    return;
  }
  const meant = pathText([...path.slice(0, -1), nearest]);
  findings.warn(
    path,
    `is not a known key and has no effect; did you mean ${nearest}?`,
    `rename it to ${quotable(meant, 200)}`,
  );
}
