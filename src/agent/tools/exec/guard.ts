import type { ExecSettings } from "../../../config/contract.ts";
import { isInside } from "../../inside.ts";

export interface GuardOptions {
  readonly settings: Pick<
    ExecSettings,
    "enable_deny_patterns" | "custom_deny_patterns" | "custom_allow_patterns"
  >;
  /** Whether paths must stay in the folder where the command runs, or in the workspace. */
  readonly restrict: boolean;
  /** Real paths. */
  readonly workspace: string;
  readonly cwd: string;
}

const BLOCKED = "Command blocked by safety guard";

/** The folder of a program. All repetitions have a bound where two of them could take the same text. */
const PATH = String.raw`(?:[\w./-]{0,200}/)?`;
const END = String.raw`(?=$|[\s;&|)}<>])`;
/** A program by its name or path, wherever a word can begin: it may follow `xargs` or `timeout 5`. */
const program = (names: string, rest = END): RegExp =>
  new RegExp(String.raw`(?:^|[\s;&|({!])${PATH}(?:${names})${rest}`);
/** The same for names that are everyday words, too: only where a command begins. */
const first = (names: string, rest = END): RegExp =>
  new RegExp(String.raw`(?:^|[;&|({!\n])[^\S\n]*${PATH}(?:${names})${rest}`);

/** What commands must not hold, each matched against the lower-cased command. */
const DENIED: readonly RegExp[] = [
  // Deleting without asking, or whole trees.
  program("rm", String.raw`\s(?:[^;&|]*\s)?-(?:[a-z]*[rf]|-recursive|-force)`),
  program("find", String.raw`\s[^;&|]*\s-delete`),
  program("del|erase", String.raw`\s+/[fqs]`),
  program("rmdir|rd", String.raw`\s+/s`),
  // Disks and file systems.
  program("format", String.raw`\s+[a-z]:`),
  program(String.raw`mkfs(?:\.\w+)?|mke2fs|mkswap|diskpart|fdisk|parted|wipefs|blkdiscard`),
  program("dd", String.raw`\s(?:[^;&|]*\s)?if=`),
  /(?:>|\bof=|\btee\s(?:-\w+\s+)*)\s*\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk|disk|loop|md|dm-|mapper|mtd|mem|kmem|port)/,
  // The machine.
  program("shutdown|reboot|poweroff|halt|telinit"),
  program("init", String.raw`\s+[06]\b`),
  program("systemctl", String.raw`\s[^;&|]*(?:poweroff|reboot|halt|kexec|suspend|hibernate)`),
  // A function that calls itself twice.
  /(?:^|[\s;&|(){}])([^\s(){}|&;]{1,20})\s*\(\)\s*\{[^}]{0,200}\1\s*\|\s*\1\s*&/,
  // What the shell would put in that nobody has read.
  /\$\(/,
  /\$\{/,
  /`/,
  /[<>]\(/,
  /<<-?\s*["']?[a-z_]/,
  // Text that becomes a command.
  new RegExp(
    String.raw`\|&?\s*${PATH}(?:env\s+(?:[^\s|;&]{1,200}\s+){0,9})?(?:sudo\s+)?${PATH}(?:ba|da|z|k|fi|tc|c|a)?sh${END}`,
  ),
  new RegExp(
    String.raw`(?:curl|wget)\s[^;]{0,1000}\|\s*${PATH}(?:python\d?|perl|ruby|node|bun|deno|php)\b`,
  ),
  program("eval"),
  first("source|\\.", String.raw`\s+\S`),
  // Other users and their rights.
  program("sudo|doas|pkexec|runuser"),
  first("su"),
  program("chmod", String.raw`\s(?:[^;&|]*\s)?(?:[0-7]{3,4}|[augo]*\+[rwxt]*s)(?=$|\s)`),
  program("chown|chgrp"),
  program("kill|pkill|killall|taskkill"),
  // Software of the whole system.
  program("npm", String.raw`\s[^;&|]*(?:\s-g|--global)\b`),
  program("pip[0-9.]*", String.raw`\s[^;&|]*--user\b`),
  program(
    "apt|apt-get|aptitude|yum|dnf|zypper|apk|pacman|dpkg|rpm|snap",
    String.raw`\s[^;&|]*\b(?:install|remove|purge|upgrade|update|add|del|dist-upgrade|-s\w*|-i|-u|-e)(?=$|[\s;&|])`,
  ),
  program("docker|podman", String.raw`\s[^;&|]*\b(?:run|exec)\b`),
  // Elsewhere.
  program("git", String.raw`(?:\s+-\S+(?:\s+[^-\s]\S*)?)*\s+push`),
  program("git", String.raw`\s[^;&|]*\s--force`),
  first("ssh|scp|sftp"),
];

/** Files that the kernel makes up and that harm nobody. */
const PSEUDO = /^\/dev\/(?:null|zero|u?random|stdin|stdout|stderr|tty|full|fd\/\d+)$/;

/**
 * Why a command must not run, in the words that skills know; undefined where it may. A net for
 * mistakes of models, and no cage: a shell has more ways to write a command than patterns can name.
 */
export function blockedBy(written: string, options: GuardOptions): string | undefined {
  const forms = formsOf(written);
  if (isDangerous(forms, options)) return `${BLOCKED} (dangerous pattern detected)`;
  if (!options.restrict) return undefined;
  if (forms.some(climbs)) return `${BLOCKED} (path traversal detected)`;
  if (forms.some((form) => leaves(form, options))) return `${BLOCKED} (path outside working dir)`;
  return undefined;
}

/** Whether it holds what a command must not hold. */
function isDangerous(forms: readonly string[], { settings }: GuardOptions): boolean {
  const lower = forms.map((form) => form.toLowerCase());
  const matches = (patterns: readonly string[]): boolean =>
    patterns.some((pattern) => new RegExp(pattern).test(lower[0] ?? ""));
  if (matches(settings.custom_allow_patterns)) return false;
  if (matches(settings.custom_deny_patterns)) return true;
  if (!settings.enable_deny_patterns) return false;
  return DENIED.some((pattern) => lower.some((form) => pattern.test(form)));
}

/** A command as it is written, and as the shell sees it once quotes and line continuations are gone. */
function formsOf(written: string): readonly string[] {
  const joined = written.replaceAll("\\\n", "");
  const bare = joined.replace(/\$ifs\b/gi, " ").replace(/["'\\]/g, "");
  return [written, bare];
}

/** `..` as a whole name of a path. */
function climbs(form: string): boolean {
  return /(?:^|[\s"'`=:,(){}[\]<>|;&/\\])\.\.(?:$|[\s"'`=:,(){}[\]<>|;&/\\])/.test(form);
}

/** Whether it may name something outside: an absolute path, or what the shell makes one of. */
function leaves(form: string, { workspace, cwd }: GuardOptions): boolean {
  const text = form.replace(/\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s"'<>|;&]*/gi, (url) =>
    /^file:/i.test(url) ? url.slice("file:/".length) : "",
  );
  if (/(?:^|[\s"'=:,(<>|;&])~/.test(text) || /\$(?:home|oldpwd)\b/i.test(text)) return true;
  // Without a folder it goes home, with a dash back.
  if (/(?:^|[\s;&|({])cd\s*(?:$|[;&|)}]|-(?:$|[\s;&|]))/m.test(text)) return true;
  return absolutePathsIn(text).some(
    (path) => !PSEUDO.test(path) && ![workspace, cwd].some((folder) => isInside(path, folder)),
  );
}

/** Words that begin with a slash, or with a drive; not the slash within `a/b`, nor `-x/y`'s, but its path. */
function absolutePathsIn(text: string): string[] {
  const posix = text.matchAll(
    /(?:(?<![\w.\-~@+%/*?\]})^$#])|(?<=(?<!\S)-[A-Za-z]))\/[^\s"'`<>|;&()]*/g,
  );
  const windows = text.matchAll(/(?<![\w/])[A-Za-z]:\\[^\s"'<>|;&]*/g);
  return [...posix, ...windows].map(([path]) => path.replace(/^\/+/, "/"));
}
