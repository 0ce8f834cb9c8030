import { isPattern } from "../../base/client-pattern.ts";
import type { JsonPath } from "../../base/contract.ts";
import { nearestWord } from "../../base/spelling.ts";
import { coversFilter } from "../../base/topic-filter.ts";
import type { MqttChannel, WatchSettings } from "../contract.ts";
import { didYouMean, quotable } from "../findings.ts";
import type { Findings } from "../findings.ts";
import type { ValuesOf } from "../keys/key.ts";
import { WATCH } from "../keys/watch.ts";
import { childOf } from "../tree.ts";
import type { Branch, Path } from "../tree.ts";
import { readCondition, readPath, readTime } from "./condition.ts";

type Written = ValuesOf<typeof WATCH.rows>;

const MAX_WATCHES = 1_000;

/** `tools.mqtt.watch`. Adds problems to the findings, but not those that the table of keys finds. */
export function watchesIn(
  tree: Branch,
  channels: readonly MqttChannel[],
  findings: Findings,
): readonly WatchSettings[] {
  const path = ["tools", "mqtt", "watch"];
  const found = childOf(tree, ...path);
  if (found?.kind !== "list") return [];
  if (found.items.length > MAX_WATCHES) {
    findings.problem(path, `found ${found.items.length} watches, allowed are ${MAX_WATCHES}`);
  }
  return found.items.slice(0, MAX_WATCHES).flatMap((item, index) => {
    const written = WATCH.read(item, [...path, index], () => {});
    return written === undefined
      ? []
      : (watchOf(written, [...path, index], { channels, findings }) ?? []);
  });
}

interface Around {
  readonly channels: readonly MqttChannel[];
  readonly findings: Findings;
}

function watchOf(written: Written, path: Path, around: Around): WatchSettings | undefined {
  const { findings } = around;
  const { topic, prompt, client } = written;
  const before = findings.problems.length;
  const fault = (key: string, text: string): void => findings.problem([...path, key], text);
  const own = around.channels.find(({ settings }) =>
    coversFilter(`${settings.topic_prefix}/${settings.agent_id}/#`, topic),
  );
  if (own !== undefined) {
    fault("topic", `is a topic of the agent itself (channel ${own.name}): it would answer itself`);
  }
  warnOfPattern(client, [...path, "client"], findings);
  const channel = channelOf(written.channel, around, fault);
  const cooldownMs = readTime(written.cooldown);
  if (cooldownMs === undefined) {
    fault(
      "cooldown",
      `found "${quotable(written.cooldown)}", allowed is a time from 10s to 30d, as 90s, 10m or 2h`,
    );
  }
  const unusual = unusualOf(written, fault);
  const condition = written.when === undefined ? {} : readCondition(written.when);
  if (typeof condition === "string") fault("when", quotable(condition, 200));
  else if ("missingMs" in condition && unusual !== undefined) {
    fault("unusual", "cannot be with `missing for`: make two watches of it");
  }
  const isWrong = findings.problems.length > before || typeof condition === "string";
  if (isWrong || cooldownMs === undefined || channel === undefined) return undefined;
  return {
    topic,
    written: textOf(written),
    ...condition,
    ...(unusual && { unusual }),
    prompt,
    client,
    channel,
    cooldownMs,
  };
}

function warnOfPattern(client: string, path: Path, findings: Findings): void {
  if (!isPattern(client)) return;
  findings.warn(path, "is the id of one client, and no pattern", "name one client");
}

type Fault = (key: string, text: string) => void;

/** The name of the channel; undefined if it is wrong, or none is enabled. */
function channelOf(
  written: string | undefined,
  { channels }: Around,
  fault: Fault,
): string | undefined {
  const names = channels.map(({ name }) => name);
  if (written === undefined) {
    if (names.length > 1) {
      fault("channel", `is missing: several channels are enabled; name one of ${names.join(", ")}`);
    }
    return names[0];
  }
  if (names.length === 0 || names.includes(written)) return names.find((name) => name === written);
  const nearest = didYouMean(nearestWord(written, names));
  fault("channel", `"${quotable(written)}" is not an enabled channel of type mqtt${nearest}`);
  return undefined;
}

function unusualOf({ unusual }: Written, fault: Fault): JsonPath | undefined {
  if (unusual === undefined || unusual === false) return undefined;
  const path = unusual === true ? [] : readPath(unusual);
  if (typeof path !== "string") return path;
  fault("unusual", `${quotable(path, 200)}; allowed is true, false or a path as $.power`);
  return undefined;
}

/** The condition as people read it. */
function textOf({ when, unusual }: Written): string {
  const strange =
    unusual === undefined || unusual === false
      ? []
      : [unusual === true ? "unusual" : `unusual ${unusual}`];
  const texts = [...(when === undefined ? [] : [when.trim()]), ...strange];
  return texts.join(" and ") || "any message";
}
