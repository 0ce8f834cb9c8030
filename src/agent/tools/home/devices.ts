import * as v from "valibot";
import { Failure } from "../../../base/failure.ts";
import { ToolError } from "../contract.ts";
import type { CallContext, Tool } from "../contract.ts";
import { defineTool, textField } from "../define.ts";
import type { FoundEntities, HomeDevices, HomeEntity } from "./contract.ts";
import { settingsText, shown, stateText, titleText } from "./describe.ts";
import { HEALTH_FACTS, healthText, remarks } from "./health.ts";
import { matching, type Wanted } from "./search.ts";

/** Entities that are listed, and that are listed with what they can be set to. */
const MAX_LISTED = 40;
const MAX_DETAILED = 8;

const input = v.object({
  action: v.optional(
    v.pipe(
      v.picklist(["list", "health"]),
      v.description("health: which devices are offline, have a low battery or a weak link."),
    ),
    "list",
  ),
  about: v.optional(
    v.pipe(v.array(v.picklist(HEALTH_FACTS)), v.description("For health: only these.")),
  ),
  search: v.optional(textField("For list: words of the name, the room or the kind.")),
  room: v.optional(textField("For list.")),
  kind: v.optional(textField("For list: light, switch, sensor, cover, climate, lock …")),
});

/** The tool that finds devices on the broker of the request and tells their states. */
export function createDevicesTool(home: HomeDevices): Tool {
  return defineTool({
    name: "devices",
    description:
      "Finds lamps, switches, sensors and other devices of the home, and tells their states. Search for what you need; without a search you get an overview.",
    input,
    characters: 12_000,
    async run({ action, about, ...wanted }, call) {
      const found = await findEntities(home, call);
      return action === "health" ? healthText(found, about) : listText(found, wanted);
    },
  });
}

/** The entities of the caller. Throws a `ToolError` if the broker cannot be reached. */
export async function findEntities(
  home: HomeDevices,
  { channel, signal, permissions }: CallContext,
): Promise<FoundEntities> {
  try {
    return await home.find({ channel, signal }, permissions.topics);
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof Failure) throw new ToolError(thrown.message);
    throw thrown;
  }
}

const NO_DEVICES = "[no devices that this client may see; picoclaw doctor tells the owner why]";

function listText({ entities, ...facts }: FoundEntities, wanted: Wanted): string {
  const found = matching(entities, wanted);
  const more = remarks(facts);
  if (entities.length === 0) return [NO_DEVICES, ...more].join("\n");
  if (found.length === 0) {
    return ["[no device matches; there are:]", ...overview(entities), ...more].join("\n");
  }
  const isAll = found.length === entities.length;
  if (isAll && found.length > MAX_LISTED) return [...overview(entities), ...more].join("\n");
  const lines = found.slice(0, MAX_LISTED).map((entity) => lineOf(entity, found.length));
  const rest = found.length - lines.length;
  return [
    ...lines,
    ...(rest > 0 ? [`… and ${rest} more: search with more words`] : []),
    ...more,
  ].join("\n");
}

function lineOf(entity: HomeEntity, among: number): string {
  const line = `${titleText(entity)}: ${stateText(entity)}`;
  const settings = among > MAX_DETAILED ? "" : settingsText(entity.settings());
  return settings === "" ? line : `${line}; can be set: ${settings}`;
}

/** How many there are of each kind and in each room; names only on demand. */
function overview(entities: readonly HomeEntity[]): readonly string[] {
  const main = entities.filter(({ isDiagnostic }) => !isDiagnostic);
  const devices = new Set(entities.map(({ device }) => device)).size;
  const rooms = countsOf(main.map(({ room }) => room).filter((room) => room !== ""));
  return [
    `${devices} devices with ${entities.length} entities. Search by words of a name, a room or a kind.`,
    `Kinds: ${countsOf(main.map(({ kind }) => kind))}`,
    ...(rooms === "" ? [] : [`Rooms: ${rooms}`]),
  ];
}

const MAX_COUNTS = 40;

function countsOf(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const sorted = [...counts].toSorted(([, one], [, other]) => other - one).slice(0, MAX_COUNTS);
  return sorted.map(([word, count]) => `${shown(word, 40)} ${count}`).join(", ");
}
