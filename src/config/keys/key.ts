import type { ConfigFlag } from "../flags.ts";
import { branch, DEFAULT, leaf } from "../tree.ts";
import type { Leaf } from "../tree.ts";
import { entriesOf, list } from "../values.ts";
import type { JsonSchema, Read, ReadRow } from "../values.ts";

/** The table of keys: what each name in an object means. */
export type Table = Readonly<Record<string, Row>>;

export type Row = Key | Group | List | Named;

/** One key. Everything that the program does with it is derived from here. */
export interface Key<Value = unknown> extends Facts {
  readonly kind: "key";
  readonly read: ReadRow<Value>;
  /** One sentence for the documentation. */
  readonly doc: string;
  /** The default as the documentation shows it. */
  readonly shown: string;
  /** What a file may hold; anything if it is absent. */
  readonly schema: JsonSchema | undefined;
}

interface Facts {
  /** The environment variable; `true` derives its name from the path. */
  readonly variable?: true | string;
  /** The flag of the command line. */
  readonly flag?: ConfigFlag;
  /** A reference (`file://`, `cred://`, `enc://`) may stand for the value. */
  readonly reference?: true;
  readonly shown?: string;
}

/** Several keys in one object. */
export interface Group<Rows extends Table = Table> {
  readonly kind: "group";
  readonly rows: Rows;
  readonly read: ReadRow<ValuesOf<Rows>>;
  /** Further keys that are no mistake: those of Go PicoClaw that have no effect here, or any. */
  readonly also: readonly string[] | "any";
}

/** A list of objects with the same keys. */
export interface List<Rows extends Table = Table> {
  readonly kind: "list";
  readonly each: Group<Rows>;
  readonly read: ReadRow<readonly ValuesOf<Rows>[]>;
}

/** Objects with the same keys, by name. They are read one by one, in the order of the file. */
export interface Named<Rows extends Table = Table> extends Apart {
  readonly kind: "named";
  readonly each: Group<Rows>;
}

/** A row that is read by code of its own, and not with the object around it. */
interface Apart {
  readonly apart: true;
}

/** A row without a default: it may be missing. */
interface Optional {
  readonly optional: true;
}

type ValueOf<R> = R extends { readonly read: ReadRow<infer Value> } ? Value : never;

/** What the keys of a table hold once they are read. */
export type ValuesOf<Rows> = {
  readonly [N in keyof Rows as Rows[N] extends Apart | Optional ? never : N]: ValueOf<Rows[N]>;
} & {
  readonly [N in keyof Rows as Rows[N] extends Optional ? N : never]?: ValueOf<Rows[N]>;
};

/** A key with a default. */
export function key<Value>(
  read: Read<Value>,
  otherwise: Leaf["value"],
  doc: string,
  facts: Facts = {},
): Key<Value> {
  const missing = leaf(otherwise, DEFAULT);
  const shown = otherwise === "" ? "–" : `\`${JSON.stringify(otherwise)}\``;
  return {
    kind: "key",
    read: (found = missing, path, report) => read(found, path, report),
    schema: read.schema,
    doc,
    shown,
    ...facts,
  };
}

/** A key without a default. */
export function optional<Value>(
  read: Read<Value>,
  doc: string,
  facts: Facts = {},
): Key<Value> & Optional {
  const { schema } = read;
  return { kind: "key", optional: true, read: orNothing(read), schema, doc, shown: "–", ...facts };
}

/** A key whose default is an empty list. */
export function items<Value>(
  read: Read<Value[]>,
  doc: string,
  facts: Facts = {},
): Key<readonly Value[]> {
  const { schema } = read;
  return { kind: "key", read: orNothing(read, []), schema, doc, shown: "`[]`", ...facts };
}

/** A key whose default is an empty object. */
export function entries<Value>(
  read: Read<Readonly<Record<string, Value>>>,
  doc: string,
  facts: Facts = {},
): Key<Readonly<Record<string, Value>>> {
  const { schema } = read;
  return { kind: "key", read: orNothing(read, {}), schema, doc, shown: "`{}`", ...facts };
}

/** An object of keys; where it is missing, all of them have their defaults. */
export function group<Rows extends Table>(rows: Rows, also: Group["also"] = []): Group<Rows> {
  return { kind: "group", rows, also, read: reading(rows) };
}

/** An object of keys that may be missing. */
export function optionalGroup<Rows extends Table>(rows: Rows): Group<Rows> & Optional {
  return { ...group(rows), optional: true };
}

/** A group that is read by code of its own. */
export function apart<Rows extends Table>(rows: Rows): Group<Rows> & Apart {
  return { ...group(rows), apart: true };
}

export function listOf<Rows extends Table>(each: Group<Rows>): List<Rows> {
  return { kind: "list", each, read: orNothing(list(each.read), []) };
}

export function named<Rows extends Table>(each: Group<Rows>): Named<Rows> {
  return { kind: "named", each, apart: true };
}

function orNothing<Value>(read: Read<Value>, nothing?: Value): ReadRow<Value> {
  return (found, path, report) => (found === undefined ? nothing : read(found, path, report));
}

const NOTHING = branch([], DEFAULT);

/** Reads the keys of an object; further keys are ignored. */
function reading<Rows extends Table>(rows: Rows): ReadRow<ValuesOf<Rows>>;
function reading(rows: Table): ReadRow<unknown> {
  return (found = NOTHING, path, report) => {
    const children = entriesOf(found, path, report);
    if (children === undefined) return undefined;
    const values: [string, unknown][] = [];
    let isRight = true;
    for (const [name, row] of Object.entries(rows)) {
      const child = children.get(name);
      if ("apart" in row || (child === undefined && "optional" in row)) continue;
      const value = row.read(child, [...path, name], report);
      isRight &&= value !== undefined;
      values.push([name, value]);
    }
    return isRight ? Object.fromEntries(values) : undefined;
  };
}

/** A key of the table, and where it stands; `*` in a path is a name or an index. */
export interface PlacedKey {
  readonly path: readonly string[];
  readonly key: Key;
}

/** Every key at or below a row. */
export function keysIn(row: Row, path: readonly string[] = []): readonly PlacedKey[] {
  if (row.kind === "key") return [{ path, key: row }];
  if (row.kind !== "group") return keysIn(row.each, [...path, "*"]);
  return Object.entries(row.rows).flatMap(([name, inner]) => keysIn(inner, [...path, name]));
}

const LISTS = /\b(model_list|watch)\.\*/g;

/** The path of a key as people read it: `model_list[].model`, `tools.profiles.<name>.read`. */
export function keyText(path: readonly string[]): string {
  return path.join(".").replaceAll(LISTS, "$1[]").replaceAll("*", "<name>");
}

/** The text of a line of Markdown: `[settings](settings.md)` is settings. */
export function withoutMarkdown(line: string): string {
  return line.replaceAll(/\[([^\]]+)\]\([^)]*\)/g, "$1").replaceAll("`", "");
}
