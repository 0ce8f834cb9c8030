import type { Node } from "yaml";
import { Failure } from "../../base/failure.ts";
import { scalarsOfJson, treeOfJson } from "../json.ts";
import type { JsonScalar } from "../json.ts";
import type { Path } from "../tree.ts";
import { treeOfYaml } from "../yaml.ts";

/** A text of a file with its place, so that it alone can be replaced and all else stays as it is. */
export type PlacedText = JsonScalar;

/** Every text and number of a YAML file. A Failure of code `config` where it is none. */
export async function textsOfYaml(source: string, file: string): Promise<PlacedText[] | Failure> {
  // Whoever reads the file in earnest says best what is wrong with it.
  const tree = await treeOfYaml(source, file);
  if (tree instanceof Failure) return tree;
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  const options = { schema: "failsafe", logLevel: "silent", lineCounter: lines } as const;
  const { contents } = yaml.parseDocument(source, options);
  const found: PlacedText[] = [];
  const visit = (node: unknown, path: Path): void => {
    if (yaml.isMap<Node, Node>(node)) {
      for (const { key, value } of node.items) visit(value, [...path, wordOf(key)]);
    } else if (yaml.isSeq(node)) {
      for (const [index, item] of node.items.entries()) visit(item, [...path, index]);
    } else if (yaml.isScalar(node) && node.range) {
      const [start, end] = node.range;
      const text = typeof node.value === "string" ? node.value : (node.source ?? "");
      const isNull = node.type === "PLAIN" && /^(?:~|null|Null|NULL)$/.test(text);
      if (!isNull) found.push({ path, text, start, end, line: lines.linePos(start).line });
    }
  };
  visit(contents, []);
  return found;
}

function wordOf(key: Node): string {
  return String(Object.assign({ value: undefined }, key).value);
}

/** The same of a JSON file with comments. */
export async function textsOfJson(source: string, file: string): Promise<PlacedText[] | Failure> {
  const read = await treeOfJson(source, file);
  return read instanceof Failure ? read : scalarsOfJson(source);
}
