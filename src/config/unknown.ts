import { nearestWord } from "../base/spelling.ts";
import { channelType } from "./compat/go/migrate.ts";
import type { Findings } from "./findings.ts";
import { quotable } from "./findings.ts";
import type { Group, Row } from "./keys/key.ts";
import { KEYS } from "./keys/keys.ts";
import { isComment, pathText } from "./tree.ts";
import type { Branch, Path, Tree } from "./tree.ts";

/** Warns of keys that are not in the table. */
export function unknownKeys(tree: Branch, findings: Findings): void {
  checkKeys(tree, KEYS, [], findings);
}

function checkKeys(tree: Tree, row: Row, path: Path, findings: Findings): void {
  if (row.kind === "key") return;
  if (row.kind === "list" && tree.kind === "list") {
    tree.items.forEach((item, index) => checkKeys(item, row.each, [...path, index], findings));
  }
  if (tree.kind !== "branch") return;
  for (const [name, child] of tree.entries) {
    const at = [...path, name];
    if (row.kind !== "group") {
      if (!isOtherChannel(at, child)) checkKeys(child, row.each, at, findings);
    } else {
      const inner = Object.hasOwn(row.rows, name) ? row.rows[name] : undefined;
      if (inner !== undefined) checkKeys(child, inner, at, findings);
      else warnOfKey(at, row, findings);
    }
  }
}

/** Channels of other types have keys of their own. */
function isOtherChannel(path: Path, entry: Tree): boolean {
  return path[0] === "channel_list" && channelType(String(path[1]), entry) !== "mqtt";
}

function warnOfKey(path: Path, { rows, also }: Group, findings: Findings): void {
  const key = String(path.at(-1));
  if (also === "any" || also.includes(key) || isComment(key)) return;
  const nearest = nearestWord(key, [...Object.keys(rows), ...also]);
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
