import assert from "node:assert/strict";
import { answers } from "../../support/model-server.ts";
import { changedBetween, treeState } from "../../support/tree-state.ts";
import type { TreeState } from "../../support/tree-state.ts";
import { assertHolds, holds } from "../scenario.ts";
import type { Attack } from "./attack.ts";
import { CANARY } from "./scene.ts";
import type { Scene } from "./scene.ts";
import { askOver } from "./steps.ts";

/** What the program keeps for itself: conversations, requests, and that it runs. */
const OWN = /^home\/(?:workspace\/(?:state|sessions)|\.picoclaw\.pid|logs)(?:\/|$)/;

/**
 * Folders that the program makes where they are not there, and the empty stand-in for the tasks of the heartbeat,
 * before a command in a sandbox: whether there is one is the machine's business. What lies in them is looked at.
 */
const MADE = /^home\/workspace\/(?:cron|HEARTBEAT\.md|memory(?:\/clients)?)$/;

/** All that lies on the device. */
export const look = (root: string): Promise<TreeState> => treeState(root, (path) => OWN.test(path));

/** Asks once more, as somebody else. */
export async function assertOthersServed(scene: Scene): Promise<void> {
  scene.server.script(answers("All is well."));
  const { text } = await askOver({ asks: "Are you there?", client: "porch" }, scene);
  assert.equal(text, "All is well.");
  const request = scene.server.requests.at(-1)?.body.messages ?? [];
  assert.equal(request.at(-1)?.content, "Are you there?");
}

/** Nothing on the device is other than it was, but for what the attack names. */
export async function assertUnchanged({ root, attack }: Scene, before: TreeState): Promise<void> {
  const changed = changedBetween(before, await look(root));
  const others = changed.filter((path) => before.has(path) || !MADE.test(path));
  assertAre(others, attack.changes, "what changed on the device");
}

/** What left the machine, by the web and by the broker; and no secret with it. */
export function assertLeft(
  { attack, surroundings, outside, inside, base }: Scene,
  from: number,
): void {
  assertAre(outside.seen, attack.requests, "what the web server outside was asked for");
  assert.deepEqual(inside.seen, [], "what the private server was asked for");
  const said = surroundings.heard.slice(from);
  const id = base.slice(base.lastIndexOf("/") + 1);
  const agents = Object.keys(attack.agents).map((name) => `|^/picoclaw/${name}/[^/]+/response `);
  const own = new RegExp(
    `^${base}/(?:[^/]*/(?:request|response)|status|info) |^\\$a2a/v1/(?:(?:discovery|reply)/acme/${id}/|request/acme/${id}/.*"method")${agents.join("")}`,
  );
  const published = said
    .map(({ topic, payload }) => `${topic} ${payload}`)
    .filter((text) => !own.test(text));
  assertAre(published, attack.published, "what was published");
  const left = [...said.flatMap(({ topic, payload }) => [topic, payload]), ...outside.seen];
  for (const text of left) assert.doesNotMatch(text, CANARY);
}

/** All of it and nothing more; what is done side by side has no order. */
function assertAre(found: readonly string[], expected: readonly string[], what: string): void {
  const left = [...found];
  for (const each of expected) {
    const index = left.findIndex(
      (one) => one === each || (each.startsWith("/") && holds(one, each)),
    );
    assert.notEqual(index, -1, `${what} lacks ${each}: ${found.join(", ")}`);
    left.splice(index, 1);
  }
  assert.deepEqual(left, [], what);
}

/** No secret, no forged line. */
export function assertLog(text: string, { log }: Attack): void {
  assert.doesNotMatch(text, CANARY, "a secret in the log");
  assertHolds(text, log.holds ?? [], "the log");
  for (const word of log.lacks ?? []) assert.ok(!holds(text, word), `${word} is in the log`);
  for (const line of text.trimEnd().split("\n")) JSON.parse(line);
}
