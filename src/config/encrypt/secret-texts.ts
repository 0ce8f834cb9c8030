import { isSecretName } from "../secrets-in.ts";
import { isReference } from "../secrets.ts";
import type { Path } from "../tree.ts";
import type { PlacedText } from "./scalars.ts";

/** What Go PicoClaw writes in config.json where a secret was. */
const PLACEHOLDER = "[NOT_HERE]";

/** A secret in plain, and why it has to stay so; undefined where it can be replaced by a reference. */
export interface SecretText extends PlacedText {
  readonly stays?: string;
}

/** The secrets among the texts of a file that stand in it in plain. */
export function secretTexts(texts: readonly PlacedText[]): readonly SecretText[] {
  return texts.flatMap((placed): SecretText[] => {
    const { text, path } = placed;
    if (text.trim() === "" || text === PLACEHOLDER || isReference(text)) return [];
    if (isKept(path)) return [placed];
    const stays = reasonToStay(path, text);
    return stays === undefined ? [] : [{ ...placed, stays }];
  });
}

/** Keys whose values this program and Go PicoClaw read as references as well. */
function isKept(path: Path): boolean {
  const [root, name] = [path[0], nameOf(path)];
  if (name === "api_key" || name === "api_keys") {
    return ["model_list", "providers", "web", "tools"].includes(String(root));
  }
  return name === "password" && (root === "channel_list" || root === "channels");
}

function reasonToStay(path: Path, text: string): string | undefined {
  const name = nameOf(path);
  if (path.at(-2) === "custom_headers" && isSecretName(name)) {
    return "Go PicoClaw would send a reference as it is; write file:// or cred:// by hand";
  }
  if (URL.parse(text)?.password) {
    return "it is a password within a URL, which no reference can stand for";
  }
  return isSecretName(name) && isSecretPlace(path) ? "this program has no use for it" : undefined;
}

/** Where Go PicoClaw keeps secrets of what this program lacks. */
function isSecretPlace(path: Path): boolean {
  return ["channel_list", "channels", "skills", "voice"].includes(String(path[0]));
}

/** The key that a text stands under, itself or in a list. */
function nameOf(path: Path): string {
  return path.findLast((key) => typeof key === "string") ?? "";
}
