import { existsSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import { programWords, userId } from "../../base/host.ts";
import { configPaths } from "../../config/files.ts";
import type { Context } from "../context.ts";
import { type InitScript, openrcScript, procdScript } from "./init-scripts.ts";
import { runProgram } from "./program.ts";
import { STATE_FOLDER, UNIT, unitText, userUnitFolder } from "./unit.ts";
import { userName } from "./user-name.ts";

/** The files that tell which init system runs, and who runs this program; tests have others. */
export interface Machine {
  readonly root: string;
  readonly isRoot: boolean;
  /** The words that start it. */
  readonly program: readonly string[];
}

export function thisMachine(): Machine {
  return { root: "/", isRoot: userId() === 0, program: programWords() };
}

/** Is there while systemd runs the machine: sd_booted(3). */
const SYSTEMD = "run/systemd/system";

/** One service of systemd. */
interface Service {
  readonly scope: "system" | "user";
  readonly unit: string;
  /** `systemctl`, with --user for a user's. */
  readonly systemctl: (...words: readonly string[]) => readonly string[];
}

/** `picoclaw service install`: writes the unit, enables and starts it. Running it again changes what differs. */
export async function install(context: Context, machine: Machine): Promise<number> {
  const script = initScript(machine);
  if (script !== undefined) return printScript(context, script);
  const { host, flags } = context;
  const service = serviceOf(context, machine);
  const text = unitFor(context, service, machine);
  const former = await textOf(service.unit);
  const commands = [
    service.systemctl("daemon-reload"),
    service.systemctl("enable", UNIT),
    service.systemctl(former === text ? "start" : "restart", "--no-block", UNIT),
  ];
  if (flags.has("dry-run")) {
    await host.stdout.write(`# ${service.unit}\n${text}`);
    for (const command of commands) await host.stdout.write(`$ ${command.join(" ")}\n`);
    return 0;
  }
  refuseWithoutSystemd(machine);
  if (service.scope === "system") refuseHidden(machine);
  if (former !== text) await writeUnit(service.unit, text);
  for (const command of commands) await runOrThrow(command, context);
  const what = former === undefined ? "installed" : former === text ? "unchanged" : "replaced";
  await host.stdout.write(`${service.unit}: ${what}, enabled and started\n`);
  await tellNextSteps(context, service, machine);
  return 0;
}

/** `picoclaw service uninstall`: stops and removes the unit; the data stay. */
export async function uninstall(context: Context, machine: Machine): Promise<number> {
  const { host, flags } = context;
  const service = serviceOf(context, machine);
  if (!existsSync(service.unit)) {
    await host.stdout.write(`${service.unit} does not exist, so there is nothing to remove\n`);
    return 0;
  }
  const stop = service.systemctl("disable", "--now", UNIT);
  const reload = service.systemctl("daemon-reload");
  if (flags.has("dry-run")) {
    for (const command of [stop, ["rm", service.unit], reload]) {
      await host.stdout.write(`$ ${command.join(" ")}\n`);
    }
    return 0;
  }
  await runOrThrow(stop, context);
  await rm(service.unit);
  await runOrThrow(reload, context);
  const home = service.scope === "system" ? STATE_FOLDER : "the home folder";
  await host.stdout.write(`${service.unit}: stopped and removed; the data in ${home} stay\n`);
  return 0;
}

/** `picoclaw service status`: 0 if it runs, 3 if it does not. */
export async function status(context: Context, machine: Machine): Promise<number> {
  const { host, flags } = context;
  const service = serviceOf(context, machine);
  const names = ["LoadState", "UnitFileState", "ActiveState", "SubState", "MainPID", "Result"];
  const shown = await runProgram(
    service.systemctl("show", UNIT, `--property=${names.join()}`),
    host.env,
  );
  if (shown.code !== 0) throw noSystemd(shown.error);
  const facts = Object.fromEntries(
    shown.stdout.split("\n").flatMap((line) => {
      const [name = "", value] = line.split("=", 2);
      return value ? [[name, value]] : [];
    }),
  );
  const {
    UnitFileState: enabled,
    ActiveState: active,
    SubState: sub,
    MainPID: pid,
    Result: result,
  } = facts;
  const isInstalled = facts["LoadState"] === "loaded";
  const linger = await lingers(context, service);
  const line = flags.has("json")
    ? jsonLine({
        v: 1,
        type: "service",
        scope: service.scope,
        unit: service.unit,
        installed: isInstalled,
        enabled,
        active,
        sub,
        pid: Number(pid ?? 0),
        result,
        linger,
      })
    : isInstalled
      ? `${UNIT} (${service.scope}): ${active} (${sub}), ${enabled}; result ${result}; PID ${pid ?? "none"}\n`
      : `${UNIT} (${service.scope}) is not installed\n`;
  await host.stdout.write(escapeControl(line, "\n"));
  if (linger === false) await host.stderr.write(`note: ${lingerText()}\n`);
  return active === "active" ? 0 : 3;
}

/** The service that the flags name: the machine's for root, else the user's own. */
export function serviceOf({ host, flags }: Context, { root, isRoot }: Machine): Service {
  if (flags.has("user-service") && flags.has("system")) {
    throw new Failure("usage", "--user and --system exclude each other");
  }
  const isSystem = flags.has("system") || (isRoot && !flags.has("user-service"));
  return isSystem
    ? {
        scope: "system",
        unit: join(root, "etc/systemd/system", UNIT),
        systemctl: (...words) => ["systemctl", ...words],
      }
    : {
        scope: "user",
        unit: join(userUnitFolder(host), UNIT),
        systemctl: (...words) => ["systemctl", "--user", ...words],
      };
}

/** A container, mostly. */
function refuseWithoutSystemd({ root }: Machine): void {
  if (existsSync(join(root, SYSTEMD))) return;
  throw new Failure("failed", "no systemd runs here, so no service was installed", {
    why: `there is no /${SYSTEMD}`,
    remedy: "picoclaw gateway, started by what starts programs here",
  });
}

/** The unit keeps the service out of these folders. */
function refuseHidden({ program }: Machine): void {
  const word = program.find((one) => /^\/(?:home|root|run\/user)\//.test(one));
  if (word === undefined) return;
  throw new Failure("failed", `a service of the machine cannot run ${word}`, {
    why: "it sees nothing in /home, /root and /run/user",
    remedy: "copy the program to /usr/local/bin and run that, or picoclaw service install --user",
  });
}

function unitFor({ host }: Context, { scope }: Service, { root, program }: Machine): string {
  const { env, home: userHome, cwd } = host;
  const file =
    scope === "system"
      ? "/etc/picoclaw/key-passphrase"
      : join(userHome, ".config/picoclaw/key-passphrase");
  const isThere = existsSync(scope === "system" ? join(root, file) : file);
  // The service starts in another folder.
  const paths = configPaths({ env, userHome, cwd });
  return unitText({
    scope,
    program,
    env: {
      PICOCLAW_HOME: env["PICOCLAW_HOME"] && paths.home,
      PICOCLAW_CONFIG: env["PICOCLAW_CONFIG"] && paths.file,
    },
    passphraseFile: isThere && !/\p{Cc}/u.test(file) ? file : undefined,
  });
}

async function textOf(file: string): Promise<string | undefined> {
  return await readFile(file, "utf8").catch(() => undefined);
}

async function writeUnit(file: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeAtomically(file, text, { prepare: (handle) => handle.chmod(0o644) });
  } catch (error) {
    throw new Failure("failed", `${file} cannot be written`, {
      remedy: "run it with sudo, or install it for yourself: picoclaw service install --user",
      cause: error,
    });
  }
}

async function runOrThrow(words: readonly string[], { host }: Context): Promise<void> {
  const { code, error } = await runProgram(words, host.env);
  if (code === 0) return;
  throw new Failure("failed", `${words.join(" ")} failed (${code})`, {
    why: error,
    remedy: "picoclaw service install --dry-run shows what it would do",
  });
}

function noSystemd(error: string): Failure {
  return new Failure("failed", "systemd cannot be asked", {
    why: error,
    remedy: "picoclaw status says whether a gateway runs",
  });
}

async function tellNextSteps(context: Context, service: Service, { root }: Machine): Promise<void> {
  const { stderr, env, home: userHome, cwd } = context.host;
  if ((await lingers(context, service)) === false) await stderr.write(`note: ${lingerText()}\n`);
  const isSystem = service.scope === "system";
  const file = isSystem
    ? join(root, STATE_FOLDER, "config.json")
    : configPaths({ env, userHome, cwd }).file;
  const program = isSystem ? `sudo PICOCLAW_HOME=${STATE_FOLDER} picoclaw` : "picoclaw";
  if (!existsSync(file)) {
    const restart = `${isSystem ? "sudo systemctl" : "systemctl --user"} restart picoclaw`;
    await stderr.write(
      `note: it has no configuration yet, and cannot serve: ${program} onboard, then ${restart}\n`,
    );
  } else if (isSystem) {
    await stderr.write(
      `note: its configuration is in ${STATE_FOLDER}: ${program} config validate\n`,
    );
  }
}

/** Whether services of the user run without a login; undefined for the system's, or if nobody knows. */
async function lingers({ host }: Context, { scope }: Service): Promise<boolean | undefined> {
  if (scope === "system") return undefined;
  const words = ["loginctl", "show-user", userName(), "--property=Linger", "--value"];
  const { code, stdout } = await runProgram(words, host.env);
  return code === 0 ? stdout.trim() === "yes" : undefined;
}

function lingerText(): string {
  return `it ends when you log out, and starts when you log in; to let it run always: sudo loginctl enable-linger ${userName()}`;
}

/** The script where OpenRC or procd runs; undefined for systemd, and where nothing is known. */
function initScript({ root, program }: Machine): InitScript | undefined {
  const has = (path: string): boolean => existsSync(join(root, path));
  if (has(SYSTEMD)) return undefined;
  if (has("sbin/procd")) return procdScript(program);
  return has("sbin/openrc-run") ? openrcScript(program) : undefined;
}

async function printScript(
  { host }: Context,
  { file, text, commands }: InitScript,
): Promise<number> {
  await host.stdout.write(text);
  const lines = [`write this script to ${file}, then run:`, ...commands.map((one) => `  ${one}`)];
  await host.stderr.write(`note: ${lines.join("\n")}\n`);
  return 0;
}
