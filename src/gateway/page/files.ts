import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";

/** The files that the browser gets besides the pages, with their media types. */
const TYPES = {
  "page.css": "text/css; charset=utf-8",
  "page.js": "text/javascript; charset=utf-8",
  "html.js": "text/javascript; charset=utf-8",
  "views.js": "text/javascript; charset=utf-8",
  "plots.js": "text/javascript; charset=utf-8",
  "preact.js": "text/javascript; charset=utf-8",
  "htm.js": "text/javascript; charset=utf-8",
  "uplot.js": "text/javascript; charset=utf-8",
  "icon.svg": "image/svg+xml",
} as const;

export type PageFileName = keyof typeof TYPES;

/** In gzip, which every browser takes. */
export interface PageFile {
  readonly type: string;
  readonly zipped: Buffer;
  /** Changes with its content. */
  readonly tag: string;
  readonly plain: () => Promise<Buffer>;
}

/** Set only by `scripts/build.ts`: the files by name, each in gzip and base64, as JSON. */
declare const PICOCLAW_PAGE: string | undefined;

const cache = new Map<PageFileName, Promise<PageFile>>();

/** One file, or undefined where there is no such file. */
export function pageFile(name: string): Promise<PageFile> | undefined {
  if (!isPageFileName(name)) return undefined;
  const file = cache.get(name) ?? open(name);
  cache.set(name, file);
  return file;
}

function isPageFileName(name: string): name is PageFileName {
  return Object.hasOwn(TYPES, name);
}

async function open(name: PageFileName): Promise<PageFile> {
  const zipped = embedded(name) ?? (await promisify(gzip)(await sourceOf(name), { level: 9 }));
  const tag = `"${createHash("sha256").update(zipped).digest("base64url").slice(0, 16)}"`;
  return { type: TYPES[name], zipped, tag, plain: () => promisify(gunzip)(zipped) };
}

/** The file in the binary; undefined from source. */
function embedded(name: PageFileName): Buffer | undefined {
  if (typeof PICOCLAW_PAGE !== "string") return undefined;
  const files: Readonly<Record<PageFileName, string>> = JSON.parse(PICOCLAW_PAGE);
  return Buffer.from(files[name], "base64");
}

/** All files as they are in the source, for the build. */
export async function pageSources(): Promise<ReadonlyMap<string, string>> {
  const names = Object.keys(TYPES).filter((name) => isPageFileName(name));
  return new Map(
    await Promise.all(names.map(async (name) => [name, await sourceOf(name)] as const)),
  );
}

/** The modules of packages and of the page are in one folder. */
const PACKAGES = { preact: "./preact.js", htm: "./htm.js", uplot: "./uplot.js" };

async function sourceOf(name: PageFileName): Promise<string> {
  if (name === "preact.js") return withoutMap(await ofPackage("preact"));
  if (name === "htm.js") return ofPackage("htm");
  // The minified one is no module; it is a third of the size.
  if (name === "uplot.js")
    return `${await ofPackage("uplot/dist/uPlot.iife.min.js")}\nexport default uPlot;\n`;
  const own = await readFile(join(import.meta.dirname, "browser", name), "utf8");
  if (name === "page.css") return `${await ofPackage("uplot/dist/uPlot.min.css")}\n${own}`;
  return Object.entries(PACKAGES).reduce(
    (text, [specifier, path]) => text.replace(`from "${specifier}"`, `from "${path}"`),
    own,
  );
}

function ofPackage(specifier: string): Promise<string> {
  return readFile(fileURLToPath(import.meta.resolve(specifier)), "utf8");
}

function withoutMap(text: string): string {
  return text.replace(/\/\/# sourceMappingURL=.*\s*$/, "");
}
