import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { LockFile } from "../bundle/sbom.ts";

/** A kind of machine that a binary is made for. */
export interface Target {
  /** As in the names of the release's files: system, processor, and what differs from the usual. */
  readonly name: string;
  readonly platform: "linux" | "darwin" | "win32";
  readonly arch: "x64" | "arm64";
  /** The name of the target in `Bun.build`. */
  readonly compile: Bun.Build.CompileTarget;
  /** The npm package that holds the Bun runtime of this kind of machine. */
  readonly package: string;
  /** SHA-512 of that package for the Bun of package.json, where the lock file does not list it. */
  readonly integrity?: string;
}

export const TARGETS: readonly Target[] = [
  target("bun-linux-x64", "linux-x64"),
  {
    ...target("bun-linux-x64-baseline", "linux-x64-baseline"),
    integrity:
      "sha512-s8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==",
  },
  target("bun-linux-x64-musl", "linux-x64-musl"),
  {
    ...target("bun-linux-x64-baseline-musl", "linux-x64-musl-baseline"),
    integrity:
      "sha512-cWJhU8h0+MiUgpSt99sQhjxLIIosKEcKYdtKddohokUvAuN6jKOy7g7+QDTZTXtwHxz93wL3BX+L6wXVPDUH3A==",
  },
  target("bun-linux-arm64", "linux-aarch64"),
  target("bun-linux-arm64-musl", "linux-aarch64-musl"),
  target("bun-darwin-arm64", "darwin-aarch64"),
  target("bun-darwin-x64", "darwin-x64"),
  target("bun-windows-x64", "windows-x64"),
];

function target(compile: Bun.Build.CompileTarget, runtime: string): Target {
  const name = compile.slice("bun-".length);
  const [system = "", processor] = name.split("-");
  return {
    name,
    compile,
    platform: system === "windows" ? "win32" : system === "darwin" ? "darwin" : "linux",
    arch: processor === "arm64" ? "arm64" : "x64",
    package: `@oven/bun-${runtime}`,
  };
}

/** Throws for a name that is not in the table. */
export function targetNamed(name: string): Target {
  const found = TARGETS.find((each) => each.name === name);
  if (found !== undefined) return found;
  throw new Error(`no target ${name}; there are ${TARGETS.map((each) => each.name).join(", ")}`);
}

/** The file name of the program: on Windows it ends in `.exe`. */
export function programOf({ platform }: Target): string {
  return platform === "win32" ? "picoclaw.exe" : "picoclaw";
}

/**
 * The file of the Bun runtime for a target. It comes from npm once and stays in node_modules/.cache; what comes
 * is compared with the SHA-512 of the lock file. Throws when npm does not bring it, or brings something else.
 */
export function runtimeOf({ package: name, platform, integrity }: Target, root: string): string {
  const version = process.versions.bun;
  if (version === undefined) throw new Error("the build runs under Bun");
  const folder = join(root, "node_modules/.cache/picoclaw-runtimes", `${name.slice(6)}-${version}`);
  const file = join(folder, "package/bin", platform === "win32" ? "bun.exe" : "bun");
  if (existsSync(file)) return file;
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    run("npm", ["pack", "--silent", `${name}@${version}`, "--pack-destination", unfinished]);
    const archive = join(unfinished, `${name.slice(1).replace("/", "-")}-${version}.tgz`);
    const lock: LockFile = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
    const wanted = lock.packages[`node_modules/${name}`]?.integrity ?? integrity;
    const is = createHash("sha512").update(readFileSync(archive)).digest("base64");
    if (wanted !== `sha512-${is}`) {
      throw new Error(`${name} ${version} is not what is expected: sha512-${is}`);
    }
    run("tar", ["-xzf", archive, "-C", unfinished]);
    rmSync(archive);
    renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return file;
}

/** Copies what goes along with the program in every archive. */
export function copyTexts(root: string, folder: string): void {
  for (const file of ["LICENSE", "README.md", "CHANGELOG.md"]) {
    cpSync(join(root, file), join(folder, file));
  }
}

/** Runs a program to its end; throws with what it said if it fails. Returns its standard output. */
export function run(program: string, args: readonly string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", cwd });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ends with ${status}: ${stderr}`);
  return stdout;
}
