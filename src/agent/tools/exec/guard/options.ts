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
  rule("chmod", /^[0-7]{3,4}$|^[augo]*\+[rwxt]*s/, "it changes who may do what"),
  rule("npm pnpm yarn bun", /^(?:-g|--global|--location=global|global)$/, SOFTWARE),
  rule("pip pip3 uv", /^(?:--user|--break-system-packages|--system)$/, SOFTWARE),
  rule(
    "apt apt-get aptitude yum dnf zypper apk pacman dpkg rpm snap opkg",
    /^(?:install|remove|purge|upgrade|update|add|del|dist-upgrade|full-upgrade|autoremove|-s\w*|-i|-u|-e|-r|-p|--install|--remove|--purge)$/i,
    SOFTWARE,
  ),
  rule("docker podman nerdctl", /^(?:run|exec)$/, "it starts containers"),
  rule("tar", /^--(?:checkpoint-|to-c|use-c|info-s|new-v|rsh|rmt)|^-[a-zA-Z]*F/, RUNS),
  rule("zip", /^-[a-zA-Z]*TT|^--unz/, RUNS),
  rule("sort", /^--co/, RUNS),
  rule("split", /^--fi/, RUNS),
  rule("rg", /^--(?:pre$|pre=|hostname-bin)/, RUNS),
  rule("ag", /^--pager/, RUNS),
  rule("man", /^-[a-zA-Z]*[PH]|^--(?:pa|ht|br)/, RUNS),
  rule("less more", /^\+|^-[a-zA-Z]*k|^--lesskey/, RUNS),
  rule("rsync", /^-[a-zA-Z]*e|^--rs/, RUNS),
  rule("wget", /^--use-a|^-e|^--ex/, RUNS),
  rule("make gmake", /^--ev|^-E|^SHELL=/, RUNS),
  rule("gcc g++ cc", /^-wrapper/, RUNS),
  rule("vi vim nvim view vimdiff rvim", /!|system\(|^\+|^--cmd|^-[cSsu]/, RUNS),
  rule("emacs emacsclient", /^-{1,2}(?:ev|ba|l|sc|f|e)/, RUNS),
  rule("sqlite3", /^\s*\.(?:sh|sy)|(?:read|write)file|load_extension|^-cmd/i, RUNS),
  rule("mysql mariadb psql", /\\!|\bsystem\b|^--pager/, RUNS),
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
