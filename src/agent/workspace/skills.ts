import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { escapeControl } from "../../base/escape-control.ts";
import type { Log } from "../../base/log.ts";
import { truncate } from "../../base/truncate.ts";
import type { OpenSkill, Skill } from "./contract.ts";
import { createFileCache, readWithin, realPathWithin } from "./files.ts";
import type { Seen } from "./files.ts";
import { documentOf, lineField, listField } from "./markdown.ts";

/** A folder of skills, and the folder that its links must not leave. */
export interface SkillPlace {
  readonly folder: string;
  readonly root: string;
}

const SKILL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const MAX_SKILLS = 100;
/** Characters of a description, which is part of every prompt. */
const MAX_DESCRIPTION = 1024;
/** Bytes of SKILL.md that are read for its frontmatter, and for the model. */
const HEAD_BYTES = 8 * 1024;
const BODY_BYTES = 32 * 1024;
const MAX_FILES = 100;
const MAX_DEPTH = 3;

export interface SkillsOptions {
  /** If several folders have a skill with one name, the first one wins. */
  readonly places: readonly SkillPlace[];
  readonly now: () => Date;
  readonly log: Log;
}

/** The catalogue of skills. Each call checks the folders and reads changed files again. */
export function createCatalogue({ places, now, log }: SkillsOptions) {
  const cache = { now, log };
  const folders = createFileCache<readonly string[]>({ ...cache, nothing: [], load: namesOf });
  const catalogues = places.map(({ folder, root }) => {
    const nothing = undefined;
    const load = (file: string) => skillOf(file, root);
    const skills = createFileCache<Skill | undefined>({ ...cache, nothing, load });
    return async (seen: Seen): Promise<(Skill | undefined)[]> => {
      const names = (await folders.get(folder, seen)) ?? [];
      const files = names.map((name) => join(folder, name, "SKILL.md"));
      return await Promise.all(files.map((file) => skills.get(file, seen)));
    };
  });
  return async (seen: Seen): Promise<Skill[]> => {
    const found = new Map<string, Skill>();
    for (const skill of (await Promise.all(catalogues.map((read) => read(seen)))).flat()) {
      const key = skill?.name.toLowerCase();
      if (skill !== undefined && key !== undefined && !found.has(key)) found.set(key, skill);
    }
    const skills = [...found.values()].slice(0, MAX_SKILLS);
    return skills.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  };
}

/** Finds a skill by name, ignoring case. The name never becomes part of a path. */
export function skillNamed(skills: readonly Skill[], name: string): Skill | undefined {
  const wanted = name.trim().toLowerCase();
  return skills.find((skill) => skill.name.toLowerCase() === wanted);
}

/** The skills whose tools are all there. */
export function usableSkills(skills: readonly Skill[], tools: readonly string[]): readonly Skill[] {
  return skills.filter(({ tools: needed = [] }) => needed.every((name) => tools.includes(name)));
}

/** Reads a whole skill. Throws if its file is gone or cannot be read. */
export async function openSkill({ name, folder, file, root }: Skill): Promise<OpenSkill> {
  const { text, bytes } = await readWithin(root, file, BODY_BYTES);
  const { body } = await documentOf(text);
  const cut = `\n… (cut here: the file has ${bytes} bytes; read the rest with a file tool)`;
  const files: string[] = [];
  await realPathWithin(root, folder);
  await listFiles({ folder, under: "", depth: 1, files });
  return { name, folder, body: bytes > BODY_BYTES ? `${body}${cut}` : body, files };
}

async function namesOf(folder: string): Promise<{ value: string[] }> {
  const names = await readdir(folder);
  const shown = names.filter((name) => !name.startsWith("."));
  return { value: shown.toSorted().slice(0, MAX_SKILLS) };
}

async function skillOf(file: string, root: string) {
  const document = await documentOf((await readWithin(root, file, HEAD_BYTES)).text);
  const folder = dirname(file);
  const written = lineField(document, "name", 100) ?? "";
  const name = SKILL_NAME.test(written) ? written : basename(folder);
  if (!SKILL_NAME.test(name)) return { value: undefined, fault: "its name is not valid" };
  const description =
    lineField(document, "description", MAX_DESCRIPTION) ?? firstSentence(document.body);
  const tools = listField(document, "tools");
  const value: Skill = {
    name,
    description: escapeControl(description),
    ...(tools && { tools }),
    folder,
    file,
    root,
  };
  return document.fault === undefined ? { value } : { value, fault: document.fault };
}

/** The default description: the first line that is not a heading. */
function firstSentence(body: string): string {
  const line = body.split("\n").find((text) => text.trim() !== "" && !text.startsWith("#"));
  return truncate(line?.trim() ?? "", 200);
}

interface Listing {
  readonly folder: string;
  /** Relative to it, with a slash at its end. */
  readonly under: string;
  readonly depth: number;
  readonly files: string[];
}

/** Lists files; links by name, without following them. */
async function listFiles({ folder, under, depth, files }: Listing): Promise<void> {
  const entries = await readdir(join(folder, under), { withFileTypes: true });
  for (const entry of entries.toSorted((left, right) => (left.name < right.name ? -1 : 1))) {
    if (files.length >= MAX_FILES) return;
    const path = `${under}${entry.name}`;
    if (entry.name.startsWith(".") || path === "SKILL.md") continue;
    if (!entry.isDirectory()) files.push(escapeControl(path));
    else if (depth < MAX_DEPTH)
      await listFiles({ folder, under: `${path}/`, depth: depth + 1, files });
  }
}

/** A skill as a model reads it. */
export function skillText({ name, folder, body, files }: OpenSkill): string {
  const fileList = files.length === 0 ? "none" : files.join(", ");
  return [
    `Skill: ${name}`,
    `Folder: ${escapeControl(folder)}`,
    `Files beside: ${fileList}`,
    "",
    body,
  ].join("\n");
}
