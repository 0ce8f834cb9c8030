import { join } from "node:path";
import { escapeControl } from "../../../../base/escape-control.ts";
import { isInside } from "../../../../base/path-contains.ts";
import { truncate } from "../../../../base/truncate.ts";
import type { ExecSettings } from "../../../../config/contract.ts";
import { STATE_FOLDERS } from "../../../workspace/contract.ts";
import type { CommandTexts } from "./command-text.ts";

/** Commands stay between the real paths of the workspace and of the folder where they run. */
export interface PolicyOptions {
  readonly workspace: string;
  readonly cwd: string;
  /** Other absolute paths that may be named. */
  readonly otherPaths?: readonly string[];
  readonly settings: Pick<
    ExecSettings,
    "enable_deny_patterns" | "custom_deny_patterns" | "custom_allow_patterns"
  >;
  /** Whether the paths of a command are checked. */
  readonly restrict: boolean;
  /** The text goes to the input of a running command, which need not be a shell. */
  readonly isInput?: boolean;
}

/** Characters of a reason: it may repeat a word of the command. */
const MAX_WHY = 200;
const BLOCKED = "Command blocked by safety guard";
const DANGEROUS = `${BLOCKED} (dangerous pattern detected)`;

/**
 * Why a command must not run, in the words that skills of the Go program know; undefined if it may.
 * This is a seat belt against mistakes of models: the text is parsed as bash parses it, and matched
 * against patterns. It does not stop an attacker. The sandbox is the protection.
 */
export async function checkCommand(
  command: string,
  options: PolicyOptions,
): Promise<string | undefined> {
  const { settings, restrict } = options;
  const lower = command.toLowerCase();
  const matches = (pattern: string): boolean => new RegExp(pattern).test(lower);
  const isAllowed = settings.custom_allow_patterns.some(matches);
  if (!isAllowed && settings.custom_deny_patterns.some(matches)) return DANGEROUS;
  if (!settings.enable_deny_patterns && !restrict) return undefined;
  // The parser is loaded with the first command.
  const { readCommand } = await import("./command-text.ts");
  const texts = readCommand(command);
  const isChecked = settings.enable_deny_patterns && !isAllowed;
  const danger = isChecked ? dangerOf(command, texts, options) : undefined;
  if (danger !== undefined) return `${DANGEROUS}: ${escapeControl(truncate(danger, MAX_WHY))}`;
  const isParsed = texts !== undefined && options.isInput !== true;
  const escapes = restrict ? escapesOf(isParsed ? texts.paths : [command], options) : undefined;
  return escapes && `${BLOCKED} ${escapes}`;
}

function dangerOf(
  command: string,
  texts: CommandTexts | undefined,
  { restrict, isInput = false }: PolicyOptions,
): string | undefined {
  const isStrict = restrict && !isInput;
  if (texts === undefined) {
    return denialOf([command], false) ?? (isStrict ? "the shell could not read it" : undefined);
  }
  const denied = denialOf([...texts.programs, ...(isInput ? [command] : [])], true);
  const [unknown] = texts.unknownPrograms;
  if (denied !== undefined || unknown === undefined || !isStrict) return denied;
  return `${unknown} stands for the name of a program; write it out`;
}

/** The folder of a program. All repetitions have a bound where two of them could take the same text. */
const PATH = String.raw`(?:[\w./-]{0,200}/)?`;
const END = String.raw`(?=$|[\s;&|)}<>\x60])`;
/** A program by its name or path, wherever a word can begin: it may follow `xargs` or `timeout 5`. */
const program = (names: string, rest = END): RegExp =>
  new RegExp(String.raw`(?:^|[\s;&|({!\x60])${PATH}(?:${names})${rest}`);
/** The same for names that are everyday words, too: only where a command begins. */
const first = (names: string, rest = END): RegExp =>
  new RegExp(String.raw`(?:^|[;&|({!\x60\n])[^\S\n]*${PATH}(?:${names})${rest}`);

const SHELL = String.raw`${PATH}(?:ba|da|z|k|fi|tc|c|a)?sh${END}`;
const DISK = String.raw`\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk|disk|loop|md|dm-|mapper|mtd|ubi|mem|kmem|port)`;

/** What commands must not hold, each matched against the lower-cased command, and why. */
const DENIED: readonly (readonly [why: string, ...patterns: RegExp[]])[] = [
  [
    "recursive or forced deletion",
    program("rm", String.raw`\s(?:[^;&|]{0,500}\s)?-(?:[a-z]*[rf]|-recursive|-force)`),
    program("find", String.raw`\s[^;&|]{0,500}\s-delete`),
    program("del|erase", String.raw`\s+/[fqs]`),
    program("rmdir|rd", String.raw`\s+/s`),
    program("git", String.raw`\s[^;&|]{0,500}clean\s[^;&|]{0,500}-[a-z]*f`),
    program("shred"),
  ],
  [
    "disks and file systems",
    program("format", String.raw`\s+[a-z]:`),
    program(String.raw`mk(?:fs(?:\.\w+)?|e2fs|swap)|diskpart|[cs]?fdisk|parted|wipefs|blkdiscard`),
    program("dd", String.raw`\s(?:[^;&|]{0,500}\s)?if=`),
    new RegExp(String.raw`>[|&]?\s*${DISK}`),
    program("dd|tee|cp|mv|ln|install|truncate", String.raw`\s[^;&|]{0,500}${DISK}`),
    first("mount|umount"),
  ],
  [
    "stopping the machine",
    program("shutdown|reboot|poweroff|halt|telinit"),
    program("init", String.raw`\s+[06]\b`),
    program(
      "systemctl",
      String.raw`\s[^;&|]{0,500}(?:poweroff|reboot|halt|kexec|suspend|hibernate)`,
    ),
    />\s*\/proc\/sysrq/,
  ],
  [
    "a function that starts itself again and again",
    /(?:^|[\s;&|(){}])([^\s(){}|&;]{1,20})\s*\(\)\s*\{[^}]{0,200}[\s{;|&]\1\s*(?:\||&(?!&))/,
  ],
  [
    "text that becomes a command",
    new RegExp(
      String.raw`\|&?\s*${PATH}(?:env\s+(?:[^\s|;&]{1,200}\s+){0,9})?(?:sudo\s+)?${SHELL}`,
    ),
    new RegExp(
      String.raw`(?:curl|wget)\s[^;]{0,1000}\|\s*${PATH}(?:python\d?|perl|ruby|node|bun|deno|php)\b`,
    ),
    program(SHELL, String.raw`[^;|\n]{0,200}[<$]\(\s*(?:curl|wget)\b`),
    program("eval"),
    first("source|\\.", String.raw`\s+\S`),
  ],
  [
    "other users and their rights",
    program("sudo|doas|pkexec|runuser"),
    first("su|sg|newgrp|passwd|chpasswd|(?:user|group)(?:add|del|mod)|visudo"),
    program("chmod", String.raw`\s(?:[^;&|]{0,500}\s)?(?:[0-7]{3,5}|[augo]*[+=][rwxt]*s)(?=$|\s)`),
    program("chown|chgrp"),
  ],
  ["ending processes; kill a session of exec instead", program("kill|pkill|killall|taskkill")],
  [
    "software of the whole system",
    program("npm", String.raw`\s(?:[^;&|]{0,500}\s)?(?:-g|--global)\b`),
    program("pip[0-9.]*", String.raw`\s[^;&|]{0,500}--user\b`),
    program(
      "apt|apt-get|aptitude|yum|dnf|zypper|apk|pacman|dpkg|rpm|snap|opkg",
      String.raw`\s[^;&|]{0,500}\b(?:install|remove|purge|upgrade|update|add|del|dist-upgrade|-s\w*|-i|-u|-e)(?=$|[\s;&|])`,
    ),
    program("docker|podman", String.raw`\s[^;&|]{0,500}\b(?:run|exec)\b`),
  ],
  [
    "changing what others have",
    program("git", String.raw`(?:\s+-\S+(?:\s+[^-\s]\S*)?)*\s+push`),
    program("git", String.raw`\s[^;&|]{0,500}\s--force`),
    first("ssh|scp|sftp"),
  ],
  [
    "outliving the command; use background",
    first("at|batch|systemd-run|tmux|screen"),
    first("crontab", String.raw`(?!\s+-l\b)${END}`),
  ],
];

/** Substitutions, which hide what runs: denied only in a command that could not be parsed. */
const HIDDEN: (typeof DENIED)[number] = [
  "a part that cannot be read",
  /\$\(|\$\{|`|[<>]\(|<<-?\s*["']?[a-z_]/,
];

/** Why the patterns deny a text; undefined if they do not. */
function denialOf(texts: readonly string[], wasParsed: boolean): string | undefined {
  const lower = texts.flatMap(formsOf).map((form) => form.toLowerCase());
  const holds = (pattern: RegExp): boolean => lower.some((form) => pattern.test(form));
  const all = wasParsed ? DENIED : [...DENIED, HIDDEN];
  return all.find(([, ...patterns]) => patterns.some(holds))?.[0];
}

/** A text as it is, and as the shell sees it once quotes and line continuations are gone. */
function formsOf(text: string): readonly string[] {
  const bare = text.replaceAll("\\\n", "").replace(/\$(?:ifs\b|\{ifs\})/gi, " ");
  return [text, bare.replace(/["'\\]/g, "")];
}

/** How a text leaves the workspace or names its secrets; undefined if it does neither. */
function escapesOf(texts: readonly string[], options: PolicyOptions): string | undefined {
  const forms = texts.flatMap(formsOf);
  if (forms.some((form) => CLIMBS.test(form))) return "(path traversal detected)";
  if (forms.some((form) => leaves(form, options))) return "(path outside working dir)";
  return forms.some((form) => SECRET.test(form) || entersState(form, options))
    ? "(path outside working dir): picoclaw's own state and keys are off limits"
    : undefined;
}

/** `..` as a whole name of a path. */
const CLIMBS =
  /(?:^|[\s"'`=:,(){}[\]<>|;&/\\@]|(?<!\S)-[A-Za-z]{1,8})\.\.(?:$|[\s"'`=:,(){}[\]<>|;&/\\])/;

/** Whether a path is absolute and lies outside, or the shell makes one of it that does. */
function leaves(form: string, { workspace, cwd, otherPaths = [] }: PolicyOptions): boolean {
  if (/\$\{?(?:home|oldpwd)\b/i.test(form)) return true;
  // `cd` goes home without a folder, and back with a dash.
  if (/(?:^|[\s;&|({])cd\s*(?:$|[;&|)}]|-(?:$|[\s;&|]))/m.test(form)) return true;
  const text = form.replace(/\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s"'<>|;&]*/gi, (url) =>
    /^file:/i.test(url) ? url.slice("file:/".length) : "",
  );
  if (/(?:^|[\s"'=:,(<>|;&])~/.test(text)) return true;
  return absolutePathsIn(text).some(
    (path) =>
      !PSEUDO.test(path) &&
      ![workspace, cwd, ...otherPaths].some((folder) => isInside(path, folder)),
  );
}

/** Harmless files of the kernel, and the name of the system. */
const PSEUDO =
  /^\/(?:etc\/os-release|dev\/(?:null|zero|u?random|stdin|stdout|stderr|tty|full|fd\/\d+)|proc\/(?:cpuinfo|meminfo|loadavg|uptime|version|stat|diskstats|net\/(?:dev|wireless)|device-tree\/model)|sys\/class\/thermal\/thermal_zone\d+\/(?:temp|type))$/;

/** What begins with a slash or a drive, also behind the letters of an option; not the slash within `a/b`. */
function absolutePathsIn(text: string): string[] {
  const posix = text.matchAll(
    /(?:(?<![\w.\-~@+%/*?\]})^$#])|(?<=(?<!\S)-[A-Za-z]{1,8})|(?<=(?<![\w.-])@))\/[^\s"'`<>|;&()]*/g,
  );
  const windows = text.matchAll(/(?<![\w/])[A-Za-z]:\\[^\s"'<>|;&]*/g);
  return [...posix, ...windows].map(([path]) => path.replace(/^\/+/, "/"));
}

/** The program's own state and keys: everyone's conversations are in the workspace. */
const SECRET =
  /(?:^|[\s"'=:,@(<>|;&])(?:\.\/+)*(?:state|sessions)\/.|(?:^|[\s"'=:,@(<>|;&/])\.security\.yml\b/i;

/** Whether a command changes to one of these folders, or names it by its whole path. */
function entersState(form: string, { workspace }: PolicyOptions): boolean {
  if (/\b(?:cd|pushd)\s+(?:-\S*\s+)*(?:\.\/+)*(?:state|sessions)(?=$|[\s;&|)}/])/i.test(form))
    return true;
  const folders = STATE_FOLDERS.map((name) => join(workspace, name));
  return absolutePathsIn(form).some((path) => folders.some((folder) => isInside(path, folder)));
}
