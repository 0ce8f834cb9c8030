import type { Alias, Document, ErrorCode, LineCounter, Node, Pair, Scalar, YAMLMap } from "yaml";
import { Failure } from "../base/failure.ts";
import { branch, isPlaceholder, leaf, list, untypedLeaf } from "./tree.ts";
import type { Branch, Leaf, Origin, Path, PlacedText, Tree } from "./tree.ts";

type Yaml = typeof import("yaml");

interface Source {
  readonly yaml: Yaml;
  readonly file: string;
  readonly document: Document;
  readonly lineAt: (offset: number) => number;
  /** Nodes that may still be read. Each use of an alias can stand for a whole tree. */
  budget: number;
  /** Receives every text and number, where it stands and not where an alias repeats it. */
  onText: ((placed: PlacedText) => void) | undefined;
}

const MAX_NODES = 20_000;
/** An alias counts as so many nodes, because it is searched in the whole document. */
const ALIAS_COST = 200;
const MAX_DEPTH = 100;

/** A fault at a place of the text. Its message never quotes the text, which holds secrets. */
class YamlFault extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/**
 * Reads the map in a YAML text; each value has its line. Plain scalars stay text (`0123e5`, `007`,
 * `true`), because only the key knows whether it expects a number. `onText` receives every text and number.
 */
export async function treeOfYaml(
  text: string,
  file: string,
  onText?: (placed: PlacedText) => void,
): Promise<Branch | Failure> {
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  const lineAt = (offset: number): number => lines.linePos(offset).line || 1;
  try {
    const document = parsed(yaml, text, lines);
    const source: Source = { yaml, file, document, lineAt, budget: MAX_NODES, onText };
    const tree = treeOf(document.contents, source, []);
    if (tree === undefined) return branch([], { from: "file", file, line: 1 });
    if (tree.kind === "branch") return tree;
    throw new YamlFault("a map (`key: value`) was expected", 0);
  } catch (error) {
    if (error instanceof YamlFault)
      return notYaml(`${file}:${lineAt(error.offset)}`, error.message);
    if (error instanceof RangeError) return notYaml(file, "it is nested too deeply");
    throw error;
  }
}

/** Every text and number of a YAML file, each with its position; the Failure of `treeOfYaml` if the file is not YAML. */
export async function textsOfYaml(text: string, file: string): Promise<PlacedText[] | Failure> {
  const found: PlacedText[] = [];
  const tree = await treeOfYaml(text, file, (placed) => found.push(placed));
  return tree instanceof Failure ? tree : found;
}

/** Parses the first document. As in Go, documents after a `---` are ignored. */
function parsed(yaml: Yaml, text: string, lineCounter: LineCounter): Document {
  const document = yaml.parseDocument(text, {
    schema: "failsafe",
    prettyErrors: false,
    logLevel: "silent",
    lineCounter,
  });
  const fault = document.errors.find(({ code }) => code !== "MULTIPLE_DOCS");
  if (fault !== undefined) throw new YamlFault(meaningOf(fault.code), fault.pos[0]);
  return document;
}

function treeOf(node: unknown, source: Source, path: Path): Tree | undefined {
  const { yaml } = source;
  if (!yaml.isNode(node)) return undefined;
  source.budget -= yaml.isAlias(node) ? ALIAS_COST : 1;
  if (path.length > MAX_DEPTH || source.budget < 0) {
    throw new YamlFault("there are too many values, or aliases of aliases", offsetOf(node));
  }
  const line = source.lineAt(offsetOf(node));
  const origin: Origin = { from: "file", file: source.file, line };
  if (yaml.isAlias(node)) {
    const { onText } = source;
    source.onText = undefined;
    const tree = treeOf(targetOf(node, source), source, path);
    source.onText = onText;
    return tree;
  }
  if (yaml.isMap(node)) return branch(entriesOf(node, source, path), origin);
  if (yaml.isScalar(node)) {
    const scalar = scalarOf(node, origin);
    const [start, end] = node.range ?? [0, 0];
    if (scalar !== undefined) {
      source.onText?.({ path, text: scalar.text, start, end, line });
    }
    return scalar;
  }
  const items = node.items.map((item, index) => treeOf(item, source, [...path, index]));
  return list(
    items.flatMap((item) => (item === undefined || isPlaceholder(item) ? [] : [item])),
    origin,
  );
}

function entriesOf(map: YAMLMap, source: Source, path: Path): Map<string, Tree> {
  const entries = new Map<string, Tree>();
  const inherited: (readonly [string, Tree])[] = [];
  for (const pair of map.items) {
    const key = keyOf(pair, source);
    const child = treeOf(pair.value, source, [...path, key]);
    if (child === undefined || isPlaceholder(child)) continue;
    if (key === "<<") inherited.push(...inheritedFrom(child));
    else entries.set(key, child);
  }
  for (const [key, child] of inherited) if (!entries.has(key)) entries.set(key, child);
  return entries;
}

/** The entries of a merge key: `<<: *base`, or a list of them. */
function inheritedFrom(tree: Tree): readonly (readonly [string, Tree])[] {
  if (tree.kind === "branch") return [...tree.entries];
  return tree.kind === "list" ? tree.items.flatMap((item) => inheritedFrom(item)) : [];
}

function keyOf({ key }: Pair, { yaml }: Source): string {
  if (yaml.isScalar(key)) return textOf(key);
  throw new YamlFault("a key must be a single word", offsetOf(key));
}

function targetOf(alias: Alias, { document }: Source): Node {
  const target = alias.resolve(document);
  if (target !== undefined) return target;
  throw new YamlFault(
    "a value that begins with * is an alias, and its anchor is missing",
    offsetOf(alias),
  );
}

/** All spellings of `null` are no value. */
function scalarOf(scalar: Scalar, origin: Origin): Leaf | undefined {
  const text = textOf(scalar);
  if (scalar.type !== "PLAIN") return leaf(text, origin);
  return text === "" || NULL.test(text) ? undefined : untypedLeaf(text, origin);
}

const NULL = /^(?:~|null|Null|NULL)$/;

function textOf({ value, source }: Scalar): string {
  return typeof value === "string" ? value : (source ?? "");
}

function offsetOf(node: unknown): number {
  const { range } = Object.assign({ range: undefined }, node);
  return Array.isArray(range) && typeof range[0] === "number" ? range[0] : 0;
}

const MEANINGS: Readonly<Partial<Record<ErrorCode, string>>> = {
  BAD_ALIAS: "a value that begins with * is an alias",
  BAD_DQ_ESCAPE: "a text in double quotes has a backslash that escapes nothing",
  BAD_INDENT: "the indentation is wrong, or a bracket is not closed",
  BAD_SCALAR_START: "a value begins with a reserved character",
  BLOCK_AS_IMPLICIT_KEY: "a line has a second `: `",
  DUPLICATE_KEY: "a map has the same key twice",
  MISSING_CHAR: "a character such as a closing quote or `:` is missing",
  MULTILINE_IMPLICIT_KEY: "a key spans several lines, or its `:` is missing",
  RESOURCE_EXHAUSTION: "it is nested too deeply",
  TAB_AS_INDENT: "a tab is used as indentation",
  UNEXPECTED_TOKEN: "something is in the wrong place",
};

function meaningOf(code: ErrorCode): string {
  return MEANINGS[code] ?? `it is not well formed (${code})`;
}

function notYaml(place: string, why: string): Failure {
  return new Failure("config", `${place} is not YAML`, {
    why,
    remedy: "put values with special characters in single quotes",
  });
}
