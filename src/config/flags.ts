import { resolve } from "node:path";
import { Failure } from "../base/failure.ts";
import type { ConfigFlags } from "./contract.ts";
import { readText } from "./files.ts";
import { branch, leaf, withDeepChild } from "./tree.ts";
import type { Branch, Leaf } from "./tree.ts";

/** Flags that are a setting's text as it stands. */
const TEXT_FLAGS = [
  ["broker", "--broker", ["broker"]],
  ["agent", "--agent", ["agent_id"]],
  ["prefix", "--prefix", ["topic_prefix"]],
  ["user", "--user", ["username"]],
  ["mqtt", "--mqtt", ["protocol_version"]],
] as const;

/** Flags that name a file, relative to the working directory. */
const PATH_FLAGS = [
  ["cafile", "--cafile", ["tls", "ca_file"]],
  ["cert", "--cert", ["tls", "cert_file"]],
  ["key", "--key", ["tls", "key_file"]],
] as const;

/**
 * The settings that flags of the command line make, for every enabled channel of type mqtt;
 * undefined where none is given. Reads the password's file.
 */
export async function flagSettings(
  flags: ConfigFlags,
  cwd: string,
): Promise<Branch | undefined | Failure> {
  const settings: (readonly [path: readonly string[], value: Leaf])[] = [];
  for (const [key, name, path] of TEXT_FLAGS) {
    const text = flags[key];
    if (text !== undefined) settings.push([path, leaf(text, { from: "flag", flag: name })]);
  }
  for (const [key, name, path] of PATH_FLAGS) {
    const file = flags[key];
    if (file === undefined) continue;
    settings.push([path, leaf(resolve(cwd, file), { from: "flag", flag: name })]);
  }
  const verify = verifyOf(flags);
  if (verify !== undefined) settings.push([["tls", "verify"], verify]);
  const password = await passwordOf(flags, cwd);
  if (password instanceof Failure) return password;
  if (password !== undefined) settings.push([["password"], password]);
  const [first] = settings;
  if (first === undefined) return undefined;
  return settings.reduce(
    (tree, [path, value]) => withDeepChild(tree, path, value),
    branch([], first[1].origin),
  );
}

/** Who names a CA wants it checked, whatever the file says; `--insecure` is said aloud. */
function verifyOf({ insecure, cafile }: ConfigFlags): Leaf | undefined {
  if (insecure === true) return leaf(false, { from: "flag", flag: "--insecure" });
  return cafile === undefined ? undefined : leaf(true, { from: "flag", flag: "--cafile" });
}

async function passwordOf({ passwordFile }: ConfigFlags, cwd: string) {
  if (passwordFile === undefined) return undefined;
  const file = resolve(cwd, passwordFile);
  const text = await readText(file);
  if (typeof text === "string") {
    return leaf(text.replace(/\r?\n$/, ""), { from: "flag", flag: "--password-file" });
  }
  const why = text === undefined ? `${file} does not exist` : `${text.message}: ${text.why}`;
  return new Failure("config", `--password-file names a file that cannot be read: ${file}`, {
    why,
    remedy: "name a file that holds the password alone",
  });
}
