import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** A library that is linked into the Bun runtime, as Bun itself lists them. */
export interface LinkedLibrary {
  readonly name: string;
  /** An SPDX expression; several licences for the files of one library are joined by AND. */
  readonly license: string;
  readonly source: string;
}

/** JavaScriptCore first, because its licence asks most of whoever hands a binary on. */
export const LINKED: readonly LinkedLibrary[] = [
  {
    name: "JavaScriptCore (WebKit)",
    license: "LGPL-2.0-or-later AND BSD-2-Clause",
    source: "https://github.com/oven-sh/WebKit",
  },
  { name: "tinycc", license: "LGPL-2.1-only", source: "https://github.com/tinycc/tinycc" },
  {
    name: "boringssl",
    license: "Apache-2.0 AND ISC AND OpenSSL",
    source: "https://boringssl.googlesource.com/boringssl",
  },
  { name: "brotli", license: "MIT", source: "https://github.com/google/brotli" },
  { name: "c-ares", license: "MIT", source: "https://github.com/c-ares/c-ares" },
  { name: "highway", license: "Apache-2.0", source: "https://github.com/google/highway" },
  { name: "ICU", license: "Unicode-3.0", source: "https://github.com/unicode-org/icu" },
  {
    name: "libarchive",
    license: "BSD-2-Clause",
    source: "https://github.com/libarchive/libarchive",
  },
  { name: "libbase64", license: "BSD-2-Clause", source: "https://github.com/aklomp/base64" },
  { name: "libdeflate", license: "MIT", source: "https://github.com/ebiggers/libdeflate" },
  {
    name: "libjpeg-turbo",
    license: "BSD-3-Clause AND IJG AND Zlib",
    source: "https://github.com/libjpeg-turbo/libjpeg-turbo",
  },
  { name: "libspng", license: "BSD-2-Clause", source: "https://github.com/randy408/libspng" },
  { name: "libuv (on Windows)", license: "MIT", source: "https://github.com/libuv/libuv" },
  { name: "libwebp", license: "BSD-3-Clause", source: "https://github.com/webmproject/libwebp" },
  { name: "lol-html", license: "BSD-3-Clause", source: "https://github.com/cloudflare/lol-html" },
  { name: "ls-hpack", license: "MIT", source: "https://github.com/litespeedtech/ls-hpack" },
  { name: "ls-qpack", license: "MIT", source: "https://github.com/litespeedtech/ls-qpack" },
  {
    name: "LLVM libc++abi (a fallback)",
    license: "Apache-2.0 WITH LLVM-exception",
    source: "https://github.com/llvm/llvm-project",
  },
  {
    name: "lsquic",
    license: "MIT AND BSD-3-Clause",
    source: "https://github.com/litespeedtech/lsquic",
  },
  { name: "mimalloc", license: "MIT", source: "https://github.com/microsoft/mimalloc" },
  { name: "picohttpparser", license: "MIT", source: "https://github.com/h2o/picohttpparser" },
  { name: "simdutf", license: "Apache-2.0", source: "https://github.com/simdutf/simdutf" },
  {
    name: "TigerBeetle (parts)",
    license: "Apache-2.0",
    source: "https://github.com/tigerbeetle/tigerbeetle",
  },
  { name: "uSockets", license: "Apache-2.0", source: "https://github.com/uNetworking/uSockets" },
  { name: "uucode", license: "MIT", source: "https://github.com/jacobsandlund/uucode" },
  {
    name: "uWebSockets",
    license: "Apache-2.0",
    source: "https://github.com/uNetworking/uWebSockets",
  },
  { name: "zlib-ng", license: "Zlib", source: "https://github.com/zlib-ng/zlib-ng" },
  { name: "zstd", license: "BSD-3-Clause", source: "https://github.com/facebook/zstd" },
];

/** Of the runtime as it is built, Bun's own licence first. */
export const RUNTIME_LICENSE = "MIT AND LGPL-2.0-or-later AND LGPL-2.1-only";

const LICENSES = join(import.meta.dirname, "../licenses");

/** The usual text of a licence, for packages that name one and hold none; undefined where we have none. */
export async function usualText(license: string): Promise<string | undefined> {
  const text = await readFile(join(LICENSES, `${license}.txt`), "utf8").catch(() => undefined);
  return text?.trim();
}

/** What the licences of the runtime ask to be said of it. */
export async function runtimeNotice(version: string): Promise<string> {
  const widest = Math.max(...LINKED.map(({ name }) => name.length));
  const rows = LINKED.map(
    ({ name, license, source }) =>
      `  ${name.padEnd(widest)}  ${license}\n  ${" ".repeat(widest)}  ${source}`,
  );
  return [
    `The binary holds the Bun runtime ${version}, unchanged: https://github.com/oven-sh/bun (MIT).
Its own list of licences is https://github.com/oven-sh/bun/blob/bun-v${version}/LICENSE.md.`,
    `Bun is linked with JavaScriptCore, which is under the GNU Library General Public License, version 2
or later, and with tinycc, which is under the GNU Lesser General Public License 2.1. You may change
both and link them anew: their sources are named below, Bun's own tell how to build it with them, and
"npm run build" of this program, whose source is free as well, puts such a runtime into its binary.
The text of the licence (version 2.1) stands at the end.`,
    `It holds browser versions of Node's own modules, too, all of them MIT.`,
    `Linked into Bun:\n\n${rows.join("\n")}`,
    (await usualText("LGPL-2.1")) ?? "",
  ].join("\n\n");
}
