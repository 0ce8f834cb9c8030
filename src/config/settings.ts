import { Failure } from "../base/failure.ts";
import { nearestWord } from "../base/spelling.ts";
import { didYouMean, quotable } from "./findings.ts";
import { isOtherChannel } from "./keys/channel.ts";
import type { Key, Row } from "./keys/key.ts";
import { KEYS } from "./keys/keys.ts";
import { isCredential, isSecretName, urlSecrets } from "./secrets.ts";
import { childOf, isComment, pathText, textAt } from "./tree.ts";
import type { Branch, Origin, Path, Tree } from "./tree.ts";

/** One key of the configuration in force, for a person to read. */
export interface Setting {
  readonly path: Path;
  /** `channel_list.mqtt.settings.qos`. */
  readonly key: string;
  /** As JSON, with `***` for each secret; undefined if the key is not set and has no default. */
  readonly value: unknown;
  /** What holds where nothing is set: `the provider's`. */
  readonly otherwise: string;
  readonly origin: Origin;
}

const MASK = "***";

/** Every key in force at or below a place, in the order of the table. No value holds a secret. */
export function settingsAt(tree: Branch, { path, row }: Place): readonly Setting[] {
  return settingsIn(row, nodeAt(tree, path), path);
}

function settingsIn(row: Row, node: Tree | undefined, path: Path): readonly Setting[] {
  if (row.kind === "key") return [settingOf(row, node, path)];
  if (row.kind === "group") {
    if (node === undefined && "optional" in row) return [];
    return Object.entries(row.rows).flatMap(([name, inner]) =>
      settingsIn(inner, childOf(node, name), [...path, name]),
    );
  }
  return childrenOf(node).flatMap(([name, child]) =>
    isForeign([...path, name], child) ? [] : settingsIn(row.each, child, [...path, name]),
  );
}

function childrenOf(node: Tree | undefined): readonly (readonly [string | number, Tree])[] {
  if (node?.kind === "list") return [...node.items.entries()];
  return node?.kind === "branch" ? [...node.entries] : [];
}

/** Comments, and channels of other types: their keys are not in the table. */
function isForeign(path: Path, node: Tree): boolean {
  const isCommentLeaf = node.kind === "leaf" && isComment(String(path.at(-1)));
  return isCommentLeaf || isOtherChannel(path, node);
}

function settingOf(row: Key, node: Tree | undefined, path: Path): Setting {
  const value = masked(
    row.read(node, path, () => {}),
    path,
  );
  const isUnset = value === undefined || (node === undefined && value === "");
  return {
    path,
    key: pathText(path),
    value: isUnset ? undefined : value,
    otherwise: row.shown.replaceAll("`", "").replace(/^–$/, "none"),
    origin: node?.origin ?? { from: "default" },
  };
}

/** Secrets show as `***` in JSON; texts are secrets by their names, or have one in a URL. */
function masked(value: unknown, path: Path): unknown {
  const json: unknown = value === undefined ? undefined : JSON.parse(JSON.stringify(value));
  if (path.at(-1) === "username" && value !== undefined) return revealed(value);
  return withoutSecrets(json, path);
}

/** A user name may be a reference, but is no secret. */
function revealed(value: unknown): unknown {
  const hasText = typeof value === "object" && value !== null && "reveal" in value;
  return hasText && typeof value.reveal === "function" ? value.reveal() : value;
}

function withoutSecrets(value: unknown, path: Path): unknown {
  if (typeof value === "string") {
    if (value !== "" && isCredential(String(path.at(-1)))) return MASK;
    return urlSecrets(value)
      .filter((secret) => secret !== "")
      .reduce((text, secret) => text.replaceAll(secret, MASK), value);
  }
  if (Array.isArray(value)) {
    return value.map((item: unknown, index) => withoutSecrets(item, [...path, index]));
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]: [string, unknown]) => {
    return [name, withoutSecrets(inner, [...path, name])] as const;
  });
  return Object.fromEntries(entries);
}

/** A place in the table of keys, and in a configuration. */
export interface Place {
  readonly path: Path;
  /** The row of the key, or of the one that holds an entry: `custom_headers.Accept` is in `custom_headers`. */
  readonly row: Row;
  /** Whether the path leads into the value of a key. */
  readonly isInside: boolean;
}

/**
 * The place that a person names: `gateway.port`, `model_list[0].model`, or `model_list.gpt.model` by its name. Names
 * with dots are those that the configuration has. A usage `Failure` for an unknown key, with the nearest one.
 */
export function placeNamed(text: string, tree: Branch): Place | Failure {
  let rest = text;
  let row: Row = KEYS;
  const path: (string | number)[] = [];
  let isInside = false;
  while (rest !== "") {
    const node = nodeAt(tree, path);
    const step = stepIn(rest, row, node);
    if (step === undefined) return unknownKey(text, path, row, rest);
    rest = step.rest;
    path.push(step.name);
    if (row.kind === "key") isInside = true;
    else row = row.kind === "group" ? (row.rows[String(step.name)] ?? row) : row.each;
  }
  return { path, row, isInside };
}

interface Step {
  readonly name: string | number;
  readonly rest: string;
}

/** The first name of a path, as far as the row knows it. */
function stepIn(rest: string, row: Row, node: Tree | undefined): Step | undefined {
  const index = /^\[(\d+)\]\.?(.*)$/s.exec(rest);
  if (index !== null) {
    const isList = row.kind === "list" || (row.kind === "key" && node?.kind === "list");
    return isList ? { name: Number(index[1]), rest: index[2] ?? "" } : undefined;
  }
  const word = nameIn(rest, row, node);
  if (word === "" || word === undefined) return undefined;
  const name = row.kind === "list" ? indexNamed(word, node) : word;
  return name === -1 ? undefined : { name, rest: rest.slice(word.length).replace(/^\./, "") };
}

/** The index of the model with this name; -1 if there is none. */
function indexNamed(name: string, models: Tree | undefined): number {
  const items = models?.kind === "list" ? models.items : [];
  return items.findIndex((item) => textAt(item, "model_name") === name);
}

function nameIn(rest: string, row: Row, node: Tree | undefined): string | undefined {
  const plain = /^[^.[]*/.exec(rest)?.[0] ?? "";
  if (row.kind === "group") return Object.hasOwn(row.rows, plain) ? plain : undefined;
  if (row.kind === "key") return row.schema?.["type"] === "object" ? rest : undefined;
  const names = childrenOf(node).map(([name, child]) =>
    row.kind === "list" ? textAt(child, "model_name") : String(name),
  );
  const known = names.filter((name) => rest === name || /^[.[]/.test(rest.slice(name.length)));
  const fitting = known.filter((name) => name !== "" && rest.startsWith(name));
  return fitting.toSorted((left, right) => right.length - left.length)[0] ?? plain;
}

function unknownKey(text: string, path: Path, row: Row, rest: string): Failure {
  const word = /^\[?[^.[]*/.exec(rest)?.[0] ?? "";
  const names = row.kind === "group" ? Object.keys(row.rows) : [];
  const nearest = nearestWord(word, names);
  const above = pathText(path);
  if (row.kind === "group") {
    const meant = nearest && `${pathText([...path, nearest])}${rest.slice(word.length)}`;
    return new Failure("usage", `${quotable(text, 200)} is not a known key${didYouMean(meant)}`, {
      why: above === "" ? `there are ${names.join(", ")}` : `${above} has ${names.join(", ")}`,
      remedy: "picoclaw help settings",
    });
  }
  const what = row.kind === "key" ? "is a single value" : `has no entry ${quotable(word)}`;
  return new Failure("usage", `${quotable(text, 200)} is not a known key: ${above} ${what}`, {
    remedy: `picoclaw config show ${above}`,
  });
}

/** The value at a path; undefined if there is none. */
export function nodeAt(tree: Tree, path: Path): Tree | undefined {
  let node: Tree | undefined = tree;
  for (const name of path) {
    if (typeof name === "string") node = childOf(node, name);
    else node = node?.kind === "list" ? node.items[name] : undefined;
  }
  return node;
}

/** Whether the value at a place is a secret, which belongs into .security.yml. */
export function isSecretPlace({ path, row, isInside }: Place): boolean {
  if (row.kind !== "key") return false;
  const name = String(path.findLast((key) => typeof key === "string"));
  const isTable = row.schema?.["type"] === "object";
  const isNamedSecret = row.reference === true ? isSecretName : isCredential;
  // What of a server is a secret cannot be seen by its name.
  const isWhole = path.at(-2) === "tokens" || (path[0] === "tools" && path[1] === "mcp");
  if (isTable) return isInside && (isWhole || isNamedSecret(name));
  return row.reference === true && name !== "username";
}
