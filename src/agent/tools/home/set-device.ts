import * as v from "valibot";
import type { SetOutcome } from "../../../base/contract.ts";
import { Failure } from "../../../base/failure.ts";
import { hasOtherEffect, RefusedCall, ToolError } from "../contract.ts";
import type { CallContext, Tool } from "../contract.ts";
import { defineTool, textField } from "../define.ts";
import type { HomeDevices, HomeEntity } from "./contract.ts";
import { settingsText, shown, stateText, titleText } from "./describe.ts";
import { findEntities } from "./devices.ts";
import { matching, wordsOf } from "./search.ts";

const numberField = (about: string) => v.optional(v.pipe(v.number(), v.description(about)));

const input = v.object({
  name: textField("The device, as people call it, such as kitchen lamp."),
  kind: v.optional(textField("light, switch, cover …, if several have the name.")),
  state: v.optional(
    textField(
      "on, off, toggle; open, close, stop; lock, unlock; press for a button; start, pause, stop, return for a vacuum.",
    ),
  ),
  brightness: numberField("Percent."),
  color_temperature: numberField("Kelvin."),
  color: v.optional(textField("#rrggbb.")),
  effect: v.optional(v.string()),
  position: numberField("Of a cover: percent open."),
  tilt: numberField("Of a cover: percent."),
  speed: numberField("Of a fan: percent."),
  oscillation: v.optional(textField("Of a fan: on, off.")),
  direction: v.optional(textField("Of a fan: forward, reverse.")),
  temperature: numberField("Of a thermostat."),
  temperature_low: v.optional(v.number()),
  temperature_high: v.optional(v.number()),
  humidity: numberField("Percent."),
  mode: v.optional(textField("Of a thermostat.")),
  fan_mode: v.optional(v.string()),
  swing_mode: v.optional(v.string()),
  preset: v.optional(v.string()),
  value: v.optional(textField("Of a number, a select or a text.")),
});

/**
 * The tool that sets a device on the broker of the request, within the permissions of the caller, and looks whether
 * the device did it.
 */
export function createSetDeviceTool(home: HomeDevices): Tool {
  return defineTool({
    name: "set_device",
    description:
      "Sets a device of the home by its name, and tells what the device reports after that. No search is needed before.",
    input,
    exclusive: true,
    async actsOn(words, call) {
      const parsed = v.safeParse(input, words);
      if (!parsed.success) return undefined;
      const { kind, deviceClass } = await entityFor(home, parsed.output, call);
      return deviceClass === "" ? [kind] : [kind, deviceClass];
    },
    // A name says what it means only until another device has it.
    async effect(words, call) {
      const parsed = v.parse(input, words);
      const entity = await entityFor(home, parsed, call);
      return orToolError(entity, call, () => effectOf(entity, wantedIn(parsed)));
    },
    async run(given, call) {
      const entity = await entityFor(home, given, call);
      const wanted = wantedIn(given);
      const set = () => {
        // Devices may have changed since that was checked.
        const { confirmed } = call;
        if (confirmed !== undefined && JSON.stringify(effectOf(entity, wanted)) !== confirmed)
          throw hasOtherEffect({ name: "set_device" });
        return entity.set(wanted, call.signal);
      };
      return outcomeText(entity, await orToolError(entity, call, set));
    },
  });
}

type Input = v.InferOutput<typeof input>;

function effectOf(entity: HomeEntity, wanted: ReturnType<typeof wantedIn>) {
  return { publishes: entity.commands(wanted) };
}

/** What is to be set. */
function wantedIn({ name: _name, kind: _kind, ...given }: Input) {
  return Object.fromEntries(
    Object.entries(given).flatMap(([property, value]) =>
      value === undefined || value === "" ? [] : [[property, value] as const],
    ),
  );
}

/** Throws a `ToolError` if there is no such entity, or not one. */
async function entityFor(home: HomeDevices, given: Input, call: CallContext): Promise<HomeEntity> {
  const properties = Object.keys(wantedIn(given));
  if (properties.length === 0) throw new ToolError("say what to set, such as state");
  const { entities } = await findEntities(home, call);
  return chosen(entities, { ...given, properties });
}

async function orToolError<T>(
  entity: HomeEntity,
  { signal }: CallContext,
  act: () => Promise<T> | T,
): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof Failure)
      throw new ToolError(`${shown(entity.name)}: ${shown(thrown.message, 1_000)}`);
    throw thrown;
  }
}

interface Asked {
  readonly name: string;
  readonly kind?: string | undefined;
  readonly properties: readonly string[];
}

/** The one entity that is meant. Throws a `ToolError` if there is none, or more than one. */
function chosen(entities: readonly HomeEntity[], { name, kind, properties }: Asked): HomeEntity {
  const matches = matching(entities, { search: name, kind });
  const plain = wordsOf(name).join(" ");
  const isNamed = (entity: HomeEntity): boolean =>
    entity.id === name || wordsOf(entity.name).join(" ") === plain;
  const named = matches.filter(isNamed);
  const found = named.length > 0 ? named : matches;
  if (found.length === 0)
    throw new ToolError(`no device is called ${shown(name)}: use devices to search`);
  const settable = found.filter((entity) => entity.settings().length > 0);
  const [first] = found;
  if (settable.length === 0 && first !== undefined) {
    throw new RefusedCall(`this client may not set ${titleText(first)}`);
  }
  const able = settable.filter((entity) => hasAll(entity, properties));
  const main = able.filter(({ isDiagnostic }) => !isDiagnostic);
  const [one, another] = main.length > 0 ? main : able;
  if (one === undefined) throw new ToolError(inabilityText(settable, properties));
  if (another === undefined || (able.length > 1 && main.length === 1)) return one;
  throw new ToolError(
    `several devices are called so; say which by its id: ${optionsText(main.length > 0 ? main : able)}`,
  );
}

function hasAll(entity: HomeEntity, properties: readonly string[]): boolean {
  const names = new Set(entity.settings().map((setting) => setting.name));
  return properties.every((property) => names.has(property));
}

const MAX_OPTIONS = 8;

function optionsText(entities: readonly HomeEntity[]): string {
  const some = entities.slice(0, MAX_OPTIONS).map((one) => `${titleText(one)} ${shown(one.id)}`);
  return `${some.join(", ")}${entities.length > MAX_OPTIONS ? " …" : ""}`;
}

function inabilityText(entities: readonly HomeEntity[], properties: readonly string[]): string {
  const some = entities
    .slice(0, MAX_OPTIONS)
    .map((entity) => `${titleText(entity)}: ${settingsText(entity.settings())}`);
  return `${properties.join(", ")} cannot be set there. What can be set: ${some.join(". ")}`;
}

/** What the device reports, or that it reports nothing: the model must not say that it was done. */
function outcomeText(entity: HomeEntity, outcome: SetOutcome): string {
  const title = titleText(entity);
  const state = stateText(entity);
  if (outcome.isConfirmed) return `Done. ${title} reports: ${state}.`;
  if (outcome.isHeard) return `Sent. Not yet as asked for; ${title} reports: ${state}.`;
  if (outcome.noSubscribers) {
    throw new ToolError(
      `${title} did not get it: nobody is subscribed to its commands. Last known: ${state}`,
    );
  }
  if (!outcome.isReadable)
    return `Sent to ${title}. Whether it did it is not reported to this client.`;
  throw new ToolError(
    `sent to ${title}, but it reported nothing within three seconds: it may not have done it. Last known: ${state}`,
  );
}
