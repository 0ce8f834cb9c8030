import { join } from "node:path";
import { unicodeEscape } from "../../base/escape-control.ts";
import type { Host } from "../../base/host.ts";

export const UNIT = "picoclaw.service";

/** The folder of a user's units. */
export function userUnitFolder({ env, home }: Pick<Host, "env" | "home">): string {
  return join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "systemd/user");
}

/** What a unit of systemd depends on. */
export interface UnitFacts {
  readonly scope: "system" | "user";
  /** The words that start picoclaw. */
  readonly program: readonly string[];
  /** PICOCLAW_HOME and PICOCLAW_CONFIG of a user's service, where they are set: absolute paths. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The file with the passphrase of `enc://` values, on one line; undefined if there is none. */
  readonly passphraseFile: string | undefined;
}

/** The folder of a system service; the name of its StateDirectory. */
export const STATE_FOLDER = "/var/lib/picoclaw";

/** Restarting does not mend wrong usage (2), a broker's refusal (5) and a wrong configuration (78). */
const FINAL_CODES = "2 5 78";

/** The text of the unit (systemd.service(5), systemd.exec(5)). */
export function unitText(facts: UnitFacts): string {
  const { scope, program } = facts;
  const isSystem = scope === "system";
  return `# Written by: picoclaw service install --${scope}
[Unit]
Description=picoclaw: an AI agent behind an MQTT topic
${isSystem ? "Wants=network-online.target\nAfter=network-online.target mosquitto.service\n" : ""}
[Service]
# It is ready when it has subscribed, and waits for a broker that is away as long as it takes.
Type=notify
NotifyAccess=all
TimeoutStartSec=infinity
ExecStart=${commandLine([...program, "gateway"])}
ExecReload=/bin/kill -HUP $MAINPID
# Running answers may finish.
TimeoutStopSec=45
KillMode=mixed
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=${FINAL_CODES}
${environment(facts)}
${credentials(facts)}
${(isSystem ? [...HARDENING, ...SYSTEM_HARDENING] : HARDENING).join("\n")}

[Install]
WantedBy=${isSystem ? "multi-user.target" : "default.target"}
`;
}

function environment({ scope, env }: UnitFacts): string {
  if (scope === "system") {
    return [
      "# A user of its own, whose files are in the state folder.",
      "DynamicUser=yes",
      "StateDirectory=picoclaw",
      "StateDirectoryMode=0700",
      `Environment=PICOCLAW_HOME=${STATE_FOLDER}`,
    ].join("\n");
  }
  const set = ["PICOCLAW_HOME", "PICOCLAW_CONFIG"].flatMap((name) => {
    const value = env[name];
    return value ? [`Environment=${quoted(`${name}=${value}`)}`] : [];
  });
  return set.join("\n");
}

/** systemd gives credentials to this service alone; `cred://NAME` in the configuration is one of them. */
function credentials({ scope, passphraseFile }: UnitFacts): string {
  const place = scope === "system" ? "/etc/picoclaw" : "%h/.config/picoclaw";
  const file = passphraseFile?.replaceAll("%", "%%") ?? `${place}/key-passphrase`;
  const passphrase = `LoadCredential=picoclaw-key-passphrase:${file}`;
  return [
    "# Secrets from files that only their owner can read: cred://mqtt-password in the configuration.",
    `#LoadCredential=mqtt-password:${place}/mqtt-password`,
    passphraseFile === undefined ? `#${passphrase}` : passphrase,
  ].join("\n");
}

/**
 * None of it keeps bubblewrap, in which `exec` runs commands, from making its namespaces: that needs user namespaces
 * and an unmasked /proc.
 */
const HARDENING = [
  "NoNewPrivileges=yes",
  "UMask=0077",
  "LockPersonality=yes",
  "RestrictRealtime=yes",
  "RestrictSUIDSGID=yes",
  "SystemCallArchitectures=native",
];

const SYSTEM_HARDENING = [
  "CapabilityBoundingSet=",
  "ProtectSystem=strict",
  "ProtectHome=yes",
  "PrivateTmp=yes",
  "ProtectClock=yes",
  "ProtectHostname=yes",
  "ProtectKernelModules=yes",
  "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
];

/** Variables are replaced in arguments, and not in the path of the program. */
function commandLine([program = "", ...args]: readonly string[]): string {
  return [program, ...args.map((word) => word.replaceAll("$", "$$$$"))].map(quoted).join(" ");
}

/** One word of a unit (systemd.syntax(7)). */
function quoted(word: string): string {
  const escaped = word.replaceAll("%", "%%");
  if (/^[\w./:=@%$+,-]+$/.test(escaped)) return escaped;
  const inQuotes = escaped.replaceAll(/["\\]/g, "\\$&");
  // A line break within a word would begin another line of the unit.
  return `"${inQuotes.replaceAll(/\p{Cc}/gu, unicodeEscape)}"`;
}
