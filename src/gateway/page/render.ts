import type { View } from "./browser/html.js";

const VOID_ELEMENTS: ReadonlySet<string> = new Set(["input", "link", "meta", "br", "hr", "img"]);
/** What an attribute's value must not be able to change: with these names it would be code. */
const REFUSED_ATTRIBUTE = /^on|^style$|^srcdoc$|^dangerouslySetInnerHTML$/i;

/** The HTML of a view. Every text and every value is escaped; throws for a view that could run code. */
export function renderToString(view: View): string {
  if (view === null || view === undefined || typeof view === "boolean") return "";
  if (typeof view !== "object") return escapeHtml(String(view));
  if (!("type" in view)) return view.map((part) => renderToString(part)).join("");
  const { type, props } = view;
  if (typeof type === "function") return renderToString(type(props));
  const { children, ...attributes } = { children: undefined as View, ...props };
  const start = `<${type}${Object.entries(attributes).map(attributeToString).join("")}>`;
  return VOID_ELEMENTS.has(type) ? start : `${start}${renderToString(children)}</${type}>`;
}

function attributeToString([name, value]: [string, unknown]): string {
  if (REFUSED_ATTRIBUTE.test(name) || !/^[a-zA-Z-]+$/.test(name)) {
    throw new TypeError(`views have no attribute ${name}`);
  }
  // As preact does: `aria-` and `data-` have words for false.
  if (value === undefined || value === null) return "";
  if (typeof value === "boolean" && !name.startsWith("aria-")) return value ? ` ${name}` : "";
  return ` ${name}="${escapeHtml(textOf(value))}"`;
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new TypeError("an attribute's value is text or a number");
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text as it stands in HTML, between elements and within quotes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? character);
}
