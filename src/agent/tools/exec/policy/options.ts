import type { Field } from "./field.ts";
import { refusalOfGit } from "./git.ts";

/** A block device, or the memory of the machine. */
export const DEVICE =
  /\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk|disk|loop|md|dm-|mapper|mtd|ubi|mem|kmem|port|sg\d|tcp\/|udp\/)|^\/proc\/sysrq/;

interface Rule {
  readonly programs: ReadonlySet<string>;
  /** Matched against each argument. */
  readonly argument: RegExp;
  readonly why: string;
}

const rule = (programs: string, argument: RegExp, why: string): Rule => ({
  programs: new Set(programs.split(" ")),
  argument,
  why,
});

const RUNS = "it runs another program by an option";
const OTHERS_RIGHTS = "it changes who may do what";
const MACHINES = "it reaches other machines";
const SOFTWARE = "it changes the software of the whole system";

/** Arguments with which programs do more than their name says. Long options can be abbreviated. */
const RULES: readonly Rule[] = [
  rule("rm", /^-(?!-)[a-z]*[rf]|^--(?:r|f|no-p)/i, "it deletes trees, or without asking"),
  rule("find", /^-delete$/, "it deletes trees"),
  rule("del erase", /^\/[fqs]/i, "it deletes without asking"),
  rule("rmdir rd", /^\/s/i, "it deletes trees"),
  rule("format", /^[a-z]:/i, "it changes disks"),
  rule("dd", /^if=/, "it copies raw data"),
  rule(
    "dd tee cp mv ln install truncate sponge",
    new RegExp(`^(?:of=)?${DEVICE.source}`),
    "it changes disks",
  ),
  rule("init", /^[06]$/, "it stops the machine"),
  rule(
    "systemctl loginctl busctl",
    /poweroff|reboot|halt|kexec|suspend|hibernate|^isolate$|rescue|emergency|runlevel|^call$|^set-property$/,
    "it stops the machine",
  ),
  rule("chmod", /^[-+=]?[0-7]{3,}$/, OTHERS_RIGHTS),
  rule("install mkdir", /^(?:-m|--mode=)?0*[2-7][0-7]{3}$/, OTHERS_RIGHTS),
  rule(
    "chmod install mkdir",
    /^(?:-m|--mode=)?(?:[augo]*[-+=][rwxXstugo]*,)*[augo]*[+=][rwxXtugo]*s/,
    OTHERS_RIGHTS,
  ),
  rule("npm pnpm yarn bun", /^(?:-g|--global|--location=global|global)$/, SOFTWARE),
  rule("pip pip3 uv", /^(?:--user|--break-system-packages|--system)$/, SOFTWARE),
  rule(
    "apt apt-get aptitude yum dnf zypper apk pacman dpkg rpm snap opkg",
    /^(?:install|remove|purge|upgrade|update|add|del|dist-upgrade|full-upgrade|autoremove|-s\w*|-i|-u|-e|-r|-p|--install|--remove|--purge|--unpack|--configure)$/i,
    SOFTWARE,
  ),
  rule(
    "docker docker-compose podman nerdctl kubectl lxc incus machinectl",
    /^(?:run|exec|create|start|up|build|shell|launch)$/,
    "it starts containers",
  ),
  rule("tar", /^--(?:checkpoint-|to-c|use-c|info-s|new-v|rsh|rmt)|^-[a-zA-Z]*F/, RUNS),
  rule(
    "tar",
    /^--abs|^-P$|^-?(?=\w*x)[xvfzjJpkmoZa]*P[xvfzjJpkmoZa]*$/,
    "it writes wherever the archive says",
  ),
  rule("tar", /^--rem/, "it deletes what it packs"),
  rule("cpio", /^--rsh/, RUNS),
  rule("zip", /^-[a-zA-Z]*TT|^--unz/, RUNS),
  rule("sort", /^--co/, RUNS),
  rule("split", /^--fi/, RUNS),
  rule("rg", /^--(?:pre$|pre=|hostname-bin)/, RUNS),
  rule("ag", /^--pager/, RUNS),
  rule("man", /^-[a-zA-Z]*[PH]|^--(?:pa|ht|br)/, RUNS),
  rule("less more", /^\+|^-[a-zA-Z]*k|^--lesskey/, RUNS),
  rule("rsync", /^-[a-zA-Z]*e|^--rs/, RUNS),
  rule("rsync", /^rsync:|^(?!-)[^/]+:/, MACHINES),
  rule(
    "curl",
    /^(?:telnet|scp|sftp|gopher|dict|smtps?|tftp|ldaps?|imaps?|pop3s?|smbs?|mqtts?):/i,
    MACHINES,
  ),
  rule("curl", /^--(?:abs|unix)/, "it asks services of the machine"),
  rule("curl", /^-[fsSkLgviIOR#]*K|^--conf/, RUNS),
  rule("wget", /^--use-a|^-e|^--ex|^--conf/, RUNS),
  rule(
    "make gmake",
    /^--ev|^-E|^SHELL=|\$\(shell|^\w+\s*!=|^(?:-f|--file=|--makefile=)?(?:-|\/dev\/.*)$/,
    RUNS,
  ),
  rule("npx npm pnpm", /^(?:-c|--call(?:=.*)?)$/, RUNS),
  rule("groff troff", /^-[a-zA-Z]*U/, RUNS),
  rule("perl", /^-M.*(?:[;(]|ipc::)/i, RUNS),
  rule("gcc g++ cc", /^-wrapper/, RUNS),
  rule("go", /^-{1,2}toolexec/, RUNS),
  rule("cargo", /^--config/, RUNS),
  rule("deno", /^(?:https?|data|npm|jsr):/i, "it runs what it fetches"),
  rule("node nodejs", /^(?:--[a-z-]+=)?data:/, RUNS),
  rule("fd fdfind", /^--exec(?:-batch)?=|^-[xX]./, RUNS),
  rule("fzf", /^--(?:bind|preview)/, RUNS),
  rule("bat batcat delta", /^--pager/, RUNS),
  rule("strace ltrace", /^(?:-o|--output=)?[|!]/, RUNS),
  rule("tcpdump", /^-z/, RUNS),
  rule("yt-dlp youtube-dl", /^--exec/, RUNS),
  rule("aria2c", /^--on-/, RUNS),
  rule("convert magick", /^(?:\w+:)?\||^msl:/i, RUNS),
  rule("pdflatex latex tex xelatex lualatex", /^-{1,2}(?:shell-escape|enable-write18)/, RUNS),
  rule("dc", /(?:^|\s)!/, RUNS),
  rule("m4", /syscmd/, RUNS),
  rule("getent", /^g?shadow$/, "it reads what is secret"),
  rule("vi vim nvim view vimdiff rvim", /!|system\(|^\+|^--cmd|^-[cSsueE]/, RUNS),
  rule("emacs emacsclient", /^-{1,2}(?:ev|ba|l|sc|f|e)/, RUNS),
  rule(
    "sqlite3",
    /^\s*\.(?:sh|sy)|^\s*\.\w+\s[^\n]*\||(?:read|write)file|load_extension|\bedit\s*\(|^-cmd|^--?init/i,
    RUNS,
  ),
  rule("mysql mariadb psql", /\\!|\bsystem\b|^--pager|\bprogram\s*'/i, RUNS),
  rule("nc ncat netcat", /^-[a-zA-Z]*[ec]|^--(?:exec|sh-exec|lua-exec)/, RUNS),
  rule("socat", /(?:exec|system|shell):/i, RUNS),
  rule("nmap", /^--(?:interactive|script)/, RUNS),
  rule("hash", /^-[a-z]*p/, RUNS),
  rule("crontab", /^(?!-l$)/, "what it starts outlives the command"),
  // The shell computes what stands in such brackets, whatever the quotes around them.
  rule(
    "let printf read unset declare typeset export local readonly test [ mapfile readarray getopts",
    /\[[^\]]*(?:\$\(|`)/,
    "it runs what stands in brackets",
  ),
];

const COMPRESSORS = new Set("gzip pigz bzip2 pbzip2 xz zstd lz4 lzip lzop zstdmt".split(" "));

/** Programs of which an argument that is not known could be one of the above. */
const SENSITIVE = new Set(
  "rm rmdir find dd chmod git tar systemctl npm pip pip3 apt apt-get docker podman make rsync sort rg man sqlite3 crontab".split(
    " ",
  ),
);

/** Why a program must not run with these arguments; undefined where it may. */
export function refusalOfArguments(name: string, args: readonly Field[]): string | undefined {
  for (const { programs, argument, why } of RULES) {
    if (programs.has(name) && args.some(({ text }) => argument.test(text))) return why;
  }
  if (name === "crontab" && args.length === 0) return "what it starts outlives the command";
  if (name === "tar" && !compressesPlainly(args)) return RUNS;
  return name === "git" ? refusalOfGit(args) : undefined;
}

/** Programs that take commands of their own from what they read. */
const TALKED_TO = new Set("sqlite3 mysql mariadb psql dc m4".split(" "));

/** The same for lines that it reads. */
export function refusalOfLines(name: string, lines: readonly string[]): string | undefined {
  if (!TALKED_TO.has(name)) return undefined;
  return RULES.find(
    ({ programs, argument }) => programs.has(name) && lines.some((line) => argument.test(line)),
  )?.why;
}

/** The argument of a sensitive program that may be an option for all that anybody knows. */
export function unknownOption(name: string, args: readonly Field[]): Field | undefined {
  if (!SENSITIVE.has(name)) return undefined;
  return args.find(
    ({ isKnown, lead, isPattern, text }) =>
      (!isKnown && (lead === "" || lead.startsWith("-"))) || (isPattern && /^[{-]/.test(text)),
  );
}

function compressesPlainly(args: readonly Field[]): boolean {
  const [bundle] = args;
  return args.every(({ text }, index) => {
    const names =
      /^-[a-zA-Z]*I(.*)$/.exec(text) ?? (args[index] === bundle && /^[a-zA-Z]*I(.*)$/.exec(text));
    if (!names) return true;
    const program = names[1] || (args[index + 1]?.text ?? "");
    return COMPRESSORS.has(program.split(" ")[0] ?? "");
  });
}
