/** The folder of a program. All repetitions have a bound where two of them could take the same text. */
const PATH = String.raw`(?:[\w./-]{0,200}/)?`;
const END = String.raw`(?=$|[\s;&|)}<>])`;
/** A program by its name or path, wherever a word can begin: it may follow `xargs` or `timeout 5`. */
const program = (names: string, rest = END): RegExp =>
  new RegExp(String.raw`(?:^|[\s;&|({!])${PATH}(?:${names})${rest}`);
/** The same for names that are everyday words, too: only where a command begins. */
const first = (names: string, rest = END): RegExp =>
  new RegExp(String.raw`(?:^|[;&|({!\n])[^\S\n]*${PATH}(?:${names})${rest}`);

/** What the shell would put in that nobody has read: only where the command could not be taken apart. */
const HIDDEN: readonly RegExp[] = [/\$\(/, /\$\{/, /`/, /[<>]\(/, /<<-?\s*["']?[a-z_]/];

/** What commands must not hold, each matched against the lower-cased command. */
const DENIED: readonly RegExp[] = [
  // Deleting without asking, or whole trees.
  program("rm", String.raw`\s(?:[^;&|]{0,500}\s)?-(?:[a-z]*[rf]|-recursive|-force)`),
  program("find", String.raw`\s[^;&|]{0,500}\s-delete`),
  program("del|erase", String.raw`\s+/[fqs]`),
  program("rmdir|rd", String.raw`\s+/s`),
  // Disks and file systems.
  program("format", String.raw`\s+[a-z]:`),
  program(String.raw`mkfs(?:\.\w+)?|mke2fs|mkswap|diskpart|fdisk|parted|wipefs|blkdiscard`),
  program("dd", String.raw`\s(?:[^;&|]{0,500}\s)?if=`),
  /(?:>|\bof=|\btee\s(?:-\w+\s+)*)\s*\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk|disk|loop|md|dm-|mapper|mtd|mem|kmem|port)/,
  // The machine.
  program("shutdown|reboot|poweroff|halt|telinit"),
  program("init", String.raw`\s+[06]\b`),
  program("systemctl", String.raw`\s[^;&|]{0,500}(?:poweroff|reboot|halt|kexec|suspend|hibernate)`),
  // A function that calls itself twice.
  /(?:^|[\s;&|(){}])([^\s(){}|&;]{1,20})\s*\(\)\s*\{[^}]{0,200}\1\s*\|\s*\1\s*&/,
  // Text that becomes a command.
  new RegExp(
    String.raw`\|&?\s*${PATH}(?:env\s+(?:[^\s|;&]{1,200}\s+){0,9})?(?:sudo\s+)?${PATH}(?:ba|da|z|k|fi|tc|c|a)?sh${END}`,
  ),
  new RegExp(
    String.raw`(?:curl|wget)\s[^;]{0,1000}\|\s*${PATH}(?:python\d?|perl|ruby|node|bun|deno|php)\b`,
  ),
  program("eval"),
  first("source|\\.", String.raw`\s+\S`),
  // Other users and their permissions.
  program("sudo|doas|pkexec|runuser"),
  first("su"),
  program("chmod", String.raw`\s(?:[^;&|]{0,500}\s)?(?:[0-7]{3,4}|[augo]*\+[rwxt]*s)(?=$|\s)`),
  program("chown|chgrp"),
  program("kill|pkill|killall|taskkill"),
  // Software of the whole system.
  program("npm", String.raw`\s[^;&|]{0,500}(?:\s-g|--global)\b`),
  program("pip[0-9.]*", String.raw`\s[^;&|]{0,500}--user\b`),
  program(
    "apt|apt-get|aptitude|yum|dnf|zypper|apk|pacman|dpkg|rpm|snap",
    String.raw`\s[^;&|]{0,500}\b(?:install|remove|purge|upgrade|update|add|del|dist-upgrade|-s\w*|-i|-u|-e)(?=$|[\s;&|])`,
  ),
  program("docker|podman", String.raw`\s[^;&|]{0,500}\b(?:run|exec)\b`),
  // Elsewhere.
  program("git", String.raw`(?:\s+-\S+(?:\s+[^-\s]\S*)?)*\s+push`),
  program("git", String.raw`\s[^;&|]{0,500}\s--force`),
  first("ssh|scp|sftp"),
];

/** Whether a text holds what a command must not hold, as far as patterns can tell. */
export function isCaught(forms: readonly string[], wasParsed: boolean): boolean {
  const lower = forms.map((form) => form.toLowerCase());
  const patterns = wasParsed ? DENIED : [...DENIED, ...HIDDEN];
  return patterns.some((pattern) => lower.some((form) => pattern.test(form)));
}

/** A command as it is written, and as the shell sees it once quotes and line continuations are gone. */
export function formsOf(written: string): readonly string[] {
  const joined = written.replaceAll("\\\n", "");
  const bare = joined.replace(/\$ifs\b/gi, " ").replace(/["'\\]/g, "");
  return [written, bare];
}
