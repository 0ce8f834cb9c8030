import { brokerCredentials, parseBroker } from "./broker.ts";
import { leaf, list } from "./tree.ts";
import type { Tree } from "./tree.ts";
import { described, list as readItems, unquotedText } from "./values.ts";
import type { Read } from "./values.ts";

/** Reads the broker's URLs: one, or several in a list or in one text. An empty text is none. */
export function brokers(): Read<readonly string[]> {
  const readOne = unquotedText((written) => {
    const address = parseBroker(written);
    return address.kind === "invalid" ? `is not a broker URL: ${address.reason}` : undefined;
  });
  const readAll = readItems(readOne);
  const text = { type: "string" };
  const schema = { anyOf: [text, { type: "array", items: text }] };
  return described(schema, (found, path, report) => {
    if (found.kind === "leaf" && found.value === "") return [];
    const all = brokerList(found);
    if (all.kind !== "list" || all.items.length === 1) {
      const one = readOne(all.kind === "list" ? (all.items[0] ?? all) : all, path, report);
      return one === undefined ? undefined : [one];
    }
    const written = readAll(all, path, report);
    const fault = written && faultOf(written);
    if (fault !== undefined) report(path, fault);
    return fault === undefined ? written && [...new Set(written)] : undefined;
  });
}

function faultOf(written: readonly string[]): string | undefined {
  if (written.some((url) => parseBroker(url).kind === "embedded")) {
    return "names the built-in broker, which cannot be one of several";
  }
  return credentialsDiffer(written)
    ? "has URLs with different users or passwords, and a channel has one of each"
    : undefined;
}

/** The URLs as they are written, without blanks around them. */
export function writtenBrokers(found: Tree | undefined): readonly string[] {
  const all = found && brokerList(found);
  if (all?.kind !== "list") return [];
  return all.items.flatMap((item) => (item.kind === "leaf" ? item.text.trim() : []));
}

/** The value as a list, if it is a text of URLs or a list of such texts. */
function brokerList(found: Tree): Tree {
  const { origin } = found;
  if (found.kind === "branch") return found;
  if (found.kind === "leaf") {
    if (typeof found.value !== "string") return found;
    const urls = splitBrokers(found.text);
    return list(
      urls.map((url) => leaf(url, origin)),
      origin,
    );
  }
  const lists = found.items.map((item) => brokerList(item));
  return list(
    lists.flatMap((item) => (item.kind === "list" ? item.items : [item])),
    origin,
  );
}

/**
 * The URLs of one text: `tcp://a:1883,tcp://b:1883`. A comma separates if a scheme follows it, or if no URL of the
 * text has a scheme or credentials: a path, a query and a password may hold commas, too.
 */
function splitBrokers(text: string): readonly string[] {
  const comma = /:\/\/|@/.test(text) ? /\s*,\s*(?=[a-z][a-z0-9+.-]*:\/\/)/i : /\s*,\s*/;
  return text.split(comma);
}

/** Whether these URLs name different users or passwords. A URL without a user has that of the others. */
export function credentialsDiffer(urls: readonly string[]): boolean {
  const given = urls.map((url) => brokerCredentials(url));
  const named = given.filter(({ username, password }) => (username ?? password) !== undefined);
  const users = named.map(({ username, password }) => JSON.stringify([username, password]));
  return new Set(users).size > 1;
}
