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
const HIDDEN: readonly RegExp[] = [/\$\(/, /\$\{/, /`/, /[<>]\(/, /<<-?\s*["']?[a-z_]/];

/** Why the patterns deny a text; undefined if they do not. */
export function denialOf(texts: readonly string[], wasParsed: boolean): string | undefined {
  const lower = texts.flatMap(formsOf).map((form) => form.toLowerCase());
  const holds = (pattern: RegExp): boolean => lower.some((form) => pattern.test(form));
  const denied = DENIED.find(([, ...patterns]) => patterns.some(holds));
  if (denied !== undefined) return denied[0];
  return !wasParsed && HIDDEN.some(holds) ? "a part that cannot be read" : undefined;
}

/** A text as it is, and as the shell sees it once quotes and line continuations are gone. */
export function formsOf(text: string): readonly string[] {
  const bare = text.replaceAll("\\\n", "").replace(/\$(?:ifs\b|\{ifs\})/gi, " ");
  return [text, bare.replace(/["'\\]/g, "")];
}
