import type { Node } from "jsonc-parser";
import { Failure } from "../../base/failure.ts";
import { type Path, pathText } from "../tree.ts";

interface Edit {
  /** The text of the file; undefined if there is none. */
  readonly text: string | undefined;
  /** Forms of the place, of which the one is taken that the file has most of. */
  readonly places: readonly Path[];
  readonly value: unknown;
}

/** What a file of this program begins with. */
const EMPTY_CONFIG = '{\n  "version": 3\n}\n';

/**
 * The text of config.json with a value set. Comments, order and indentation stay. The text must be valid. Throws a
 * `Failure` if it has a key twice, of which the other one counts.
 */
export async function editJson({ text = EMPTY_CONFIG, places, value }: Edit): Promise<string> {
  const { applyEdits, findNodeAtLocation, modify, parseTree } = await import("jsonc-parser");
  const root = parseTree(text, [], { allowTrailingComma: true });
  const has = (path: Path): boolean =>
    root !== undefined && findNodeAtLocation(root, [...path]) !== undefined;
  const path = closest(places, has);
  refuseTwice(root, path);
  const indent = /^([ \t]+)["{]/m.exec(text)?.[1] ?? "  ";
  const edits = modify(text, [...path], value, {
    formattingOptions: {
      insertSpaces: !indent.startsWith("\t"),
      tabSize: indent.startsWith("\t") ? 1 : indent.length,
      eol: text.includes("\r\n") ? "\r\n" : "\n",
    },
  });
  return applyEdits(text, edits);
}

/** Throws a `Failure` if an object on the way to a place has the next key twice. */
function refuseTwice(root: Node | undefined, path: Path): void {
  let node = root;
  for (const [depth, name] of path.entries()) {
    const properties = node?.children ?? [];
    const found =
      node?.type === "array"
        ? [properties[Number(name)]]
        : properties.flatMap(({ children: [key, value] = [] }) =>
            key?.value === name ? [value] : [],
          );
    if (found.length > 1) {
      const key = pathText(path.slice(0, depth + 1));
      throw new Failure("failed", `config.json cannot be edited: it has ${key} twice`, {
        why: "one of the two has no effect",
        remedy: "remove that by hand",
      });
    }
    node = found[0];
  }
}

/** The text of .security.yml with a value set. Comments and order stay. Throws a `Failure` for a form that cannot be edited. */
export async function editYaml(file: string, { text = "", places, value }: Edit): Promise<string> {
  const yaml = await import("yaml");
  const document = yaml.parseDocument(text, { schema: "failsafe", logLevel: "silent" });
  const path = closest(places, (place) => document.hasIn(place));
  try {
    if (document.errors.length > 0) throw new TypeError("it holds several documents");
    const present = document.getIn(path, true);
    // A scalar keeps its comment, also the only one of a list.
    const isOnly = yaml.isSeq(present) && present.items.length === 1 && Array.isArray(value);
    const [old, next] =
      isOnly && value.length === 1 ? [present.items[0], value[0]] : [present, value];
    if (yaml.isScalar(old) && typeof next === "string") {
      if (old.anchor !== undefined) throw new TypeError("an alias would change with it");
      Object.assign(old, { value: next, type: "QUOTE_DOUBLE" });
    } else document.setIn(path, document.createNode(value));
    const quoted = { defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" } as const;
    return document.toString({ ...quoted, lineWidth: 0 });
  } catch (error) {
    throw new Failure("failed", `${file} cannot be edited: it has a form that set does not know`, {
      why: "it has aliases or several documents; nothing was written",
      remedy: "edit it by hand",
      cause: error,
    });
  }
}

/** The first of the places with the longest beginning that is there. */
function closest(places: readonly Path[], has: (path: Path) => boolean): Path {
  let found: Path = places[0] ?? [];
  let most = 0;
  for (const place of places) {
    let depth = 0;
    while (depth < place.length && has(place.slice(0, depth + 1))) depth += 1;
    if (depth > most) [found, most] = [place, depth];
  }
  return found;
}
