import * as v from "valibot";
import type { ConfigFlag } from "../flags.ts";
import { DEFAULT, leaf } from "../tree.ts";
import type { Leaf } from "../tree.ts";
import { list, object } from "../values.ts";

/** The table of keys: what each name in an object means. */
export type Table = Readonly<Record<string, Row>>;

export type Row = Key | Group | List | Named;

/** One key. Everything that the program does with it is derived from here. */
export interface Key<Value = unknown> extends Facts {
  readonly kind: "key";
  /** What the value may be, with its default. */
  readonly schema: v.GenericSchema<unknown, Value>;
  /** One sentence for the documentation. */
  readonly doc: string;
  /** The default as the documentation shows it. */
  readonly shown: string;
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
  readonly schema: v.GenericSchema<unknown, ValuesOf<Rows>>;
  /** Further keys that are no mistake: those of Go PicoClaw that have no effect here, or any. */
  readonly also: readonly string[] | "any";
}

/** A list of objects with the same keys. */
export interface List<Rows extends Table = Table> {
  readonly kind: "list";
  readonly each: Group<Rows>;
  readonly schema: v.GenericSchema<unknown, readonly ValuesOf<Rows>[]>;
}

/** Objects with the same keys, by name. They are read one by one, in the order of the file. */
export interface Named<Rows extends Table = Table> extends Apart {
  readonly kind: "named";
  readonly each: Group<Rows>;
}

/** A row that is read by code of its own, and is no part of the schema of the object around it. */
interface Apart {
  readonly apart: true;
}

/** A row without a default: it may be missing. */
interface Optional {
  readonly optional: true;
}

type ValueOf<R> = R extends { readonly schema: v.GenericSchema<unknown, infer Value> }
  ? Value
  : never;

/** What the keys of a table hold once they are read. */
export type ValuesOf<Rows> = {
  readonly [N in keyof Rows as Rows[N] extends Apart | Optional ? never : N]: ValueOf<Rows[N]>;
} & {
  readonly [N in keyof Rows as Rows[N] extends Optional ? N : never]?: ValueOf<Rows[N]>;
};

/** A key with a default. */
export function key<Value>(
  schema: v.GenericSchema<Leaf, Value>,
  otherwise: Leaf["value"],
  doc: string,
  facts: Facts = {},
): Key<Value> {
  const withDefault = v.optional(schema, leaf(otherwise, DEFAULT));
  const shown = otherwise === "" ? "–" : `\`${JSON.stringify(otherwise)}\``;
  return { kind: "key", schema: withDefault, doc, shown, ...facts };
}

/** A key without a default. */
export function optional<Value>(
  schema: v.GenericSchema<unknown, Value>,
  doc: string,
  facts: Facts = {},
): Key<Value> & Optional {
  const mayBeMissing = v.exactOptional(schema);
  return { kind: "key", optional: true, schema: mayBeMissing, doc, shown: "–", ...facts };
}

/** A key whose default is an empty list. */
export function items<Value>(
  schema: v.GenericSchema<unknown, Value[]>,
  doc: string,
  facts: Facts = {},
): Key<readonly Value[]> {
  return { kind: "key", schema: v.optional(schema, () => []), doc, shown: "`[]`", ...facts };
}

/** A key whose default is an empty object. */
export function entries<Value>(
  schema: v.GenericSchema<unknown, Readonly<Record<string, Value>>>,
  doc: string,
  facts: Facts = {},
): Key<Readonly<Record<string, Value>>> {
  return { kind: "key", schema: v.optional(schema, () => ({})), doc, shown: "`{}`", ...facts };
}

/** An object of keys; where it is missing, all of them have their defaults. */
export function group<Rows extends Table>(rows: Rows, also: Group["also"] = []): Group<Rows> {
  return { kind: "group", rows, also, schema: v.optional(objectOf(rows), () => ({})) };
}

/** An object of keys that may be missing. */
export function optionalGroup<Rows extends Table>(rows: Rows): Group<Rows> & Optional {
  const schema = v.exactOptional(objectOf(rows));
  return { kind: "group", optional: true, rows, also: [], schema };
}

/** A group that is read by code of its own. */
export function apart<Rows extends Table>(rows: Rows): Group<Rows> & Apart {
  return { ...group(rows), apart: true };
}

export function listOf<Rows extends Table>(each: Group<Rows>): List<Rows> {
  return { kind: "list", each, schema: v.optional(list(objectOf(each.rows)), () => []) };
}

export function named<Rows extends Table>(each: Group<Rows>): Named<Rows> {
  return { kind: "named", each, apart: true };
}

function objectOf<Rows extends Table>(rows: Rows): v.GenericSchema<unknown, ValuesOf<Rows>>;
function objectOf(rows: Table): v.GenericSchema {
  const schemas = Object.entries(rows).flatMap(([name, row]) =>
    "apart" in row ? [] : [[name, row.schema] as const],
  );
  return object(Object.fromEntries(schemas));
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
