import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { parseCommandLine } from "../../src/cli/args/parse.ts";
import { run as runLogs } from "../../src/cli/commands/logs.ts";
import type { Context } from "../../src/cli/context.ts";
import { openrcScript, procdScript } from "../../src/cli/service/init-scripts.ts";
import { reportToSystemd } from "../../src/cli/service/notify.ts";
import { install, status, uninstall } from "../../src/cli/service/service.ts";
import { unitText } from "../../src/cli/service/unit.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { createFakeHost, type FakeHost } from "./host.ts";

interface Scene {
  readonly root: string;
  readonly unit: string;
  readonly calls: () => Promise<string>;
  readonly run: (
    line: string,
    subrun: typeof install,
    isRoot?: boolean,
  ) => Promise<{ code: number; host: FakeHost }>;
  readonly context: (line: string) => Context & { readonly host: FakeHost };
}

const onNextInterrupt = () => () => {};
const PROGRAM = ["/usr/local/bin/picoclaw"];

/** A machine in a folder, with programs of systemd that only note how they are called. */
async function onMachine(
  { programs = {}, files = [] }: { programs?: object; files?: readonly string[] },
  use: (scene: Scene) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const { path: root } = folder;
  const log = join(root, "calls");
  await mkdir(join(root, "bin"));
  await writeFile(log, "");
  for (const [name, body] of Object.entries({ systemctl: "", loginctl: "echo no", ...programs })) {
    const script = `#!/bin/sh\necho "${name} $*" >> "${log}"\n${body}\n`;
    await writeFile(join(root, "bin", name), script);
    await chmod(join(root, "bin", name), 0o755);
  }
  for (const file of ["run/systemd/system/x", ...files]) {
    await mkdir(join(root, file, ".."), { recursive: true });
    await writeFile(join(root, file), "");
  }
  const context: Scene["context"] = (line) => {
    const args = line.split(" ");
    const { flags, words, failure } = parseCommandLine(args);
    assert.equal(failure?.message, undefined);
    const env = {
      PATH: `${join(root, "bin")}:/usr/bin:/bin`,
      XDG_CONFIG_HOME: join(root, "config"),
      NOTIFY_SOCKET: join(root, "notify"),
    };
    const host = createFakeHost(args, { env });
    const { signal } = new AbortController();
    return { host, flags, words, signal, redactor: createRedactor(), onNextInterrupt };
  };
  await use({
    root,
    unit: join(root, "config/systemd/user/picoclaw.service"),
    calls: () => readFile(log, "utf8"),
    context,
    run: async (line, subrun, isRoot = false) => {
      const given = context(line);
      return { code: await subrun(given, { root, isRoot, program: PROGRAM }), host: given.host };
    },
  });
}

describe("service install", () => {
  it("shows everything and does nothing with --dry-run", async () => {
    await onMachine({}, async ({ run, unit, calls }) => {
      const { code, host } = await run("service install --user --dry-run", install, true);
      assert.equal(code, 0);
      const shown = host.stdout.text();
      assert.ok(shown.startsWith(`# ${unit}\n`), shown);
      assert.match(shown, /\$ systemctl --user daemon-reload\n.*enable picoclaw\.service\n/);
      assert.equal(await calls(), "");
      await assert.rejects(readFile(unit));
    });
  });

  it("writes, enables and starts the unit; again it changes nothing", async () => {
    await onMachine({}, async ({ run, unit, calls }) => {
      const first = await run("service install", install);
      assert.match(first.host.stdout.text(), /: installed, enabled and started\n$/);
      assert.match(first.host.stderr.text(), /^note: .*loginctl enable-linger/);
      assert.equal((await stat(unit)).mode & 0o777, 0o644);
      const text = await readFile(unit, "utf8");
      const again = await run("service install", install);
      assert.match(again.host.stdout.text(), /: unchanged, enabled and started\n$/);
      assert.equal(await readFile(unit, "utf8"), text);
      const lines = (await calls()).split("\n").filter((line) => line.startsWith("systemctl"));
      assert.deepEqual(lines, [
        "systemctl --user daemon-reload",
        "systemctl --user enable picoclaw.service",
        "systemctl --user restart --no-block picoclaw.service",
        "systemctl --user daemon-reload",
        "systemctl --user enable picoclaw.service",
        "systemctl --user start --no-block picoclaw.service",
      ]);
    });
  });

  it("names the files of a user's configuration wherever it was started", async () => {
    await onMachine({}, async ({ context, root }) => {
      const { host, ...given } = context("service install --user --dry-run");
      const env = { ...host.env, PICOCLAW_HOME: "~/home", PICOCLAW_CONFIG: "./one.json" };
      const started = { ...given, host: { ...host, env, home: "/h", cwd: "/srv" } };
      await install(started, { root, isRoot: false, program: PROGRAM });
      const shown = host.stdout.text();
      assert.match(shown, /^Environment=PICOCLAW_HOME=\/h\/home$/m);
      assert.match(shown, /^Environment=PICOCLAW_CONFIG=\/srv\/one\.json$/m);
    });
  });

  it("installs it for the machine as root", async () => {
    await onMachine({ files: ["etc/picoclaw/key-passphrase"] }, async ({ run, root, calls }) => {
      await run("service install", install, true);
      const text = await readFile(join(root, "etc/systemd/system/picoclaw.service"), "utf8");
      assert.match(text, /^StateDirectory=picoclaw$/m);
      assert.match(
        text,
        /^LoadCredential=picoclaw-key-passphrase:\/etc\/picoclaw\/key-passphrase$/m,
      );
      assert.match(await calls(), /^systemctl daemon-reload\n/);
    });
  });

  it("installs for the machine no program that its service could not see", async () => {
    await onMachine({}, async ({ context, root, calls }) => {
      const program = ["/home/ann/.local/bin/picoclaw"];
      await assert.rejects(install(context("service install"), { root, isRoot: true, program }), {
        message: "a service of the machine cannot run /home/ann/.local/bin/picoclaw",
      });
      assert.equal(await calls(), "");
      await install(context("service install --user"), { root, isRoot: true, program });
    });
  });

  it("says how to configure a service that has no configuration", async () => {
    await onMachine({}, async ({ run }) => {
      const own = await run("service install", install);
      const missing = "note: it has no configuration yet, and cannot serve: ";
      const user = `${missing}picoclaw onboard, then systemctl --user restart picoclaw\n`;
      assert.ok(own.host.stderr.text().includes(user), own.host.stderr.text());
      const all = await run("service install", install, true);
      const machine = `${missing}sudo PICOCLAW_HOME=/var/lib/picoclaw picoclaw onboard, then sudo systemctl restart picoclaw\n`;
      assert.ok(all.host.stderr.text().includes(machine), all.host.stderr.text());
    });
    await onMachine({ files: ["var/lib/picoclaw/config.json"] }, async ({ run }) => {
      const all = await run("service install", install, true);
      assert.match(all.host.stderr.text(), /its configuration is in \/var\/lib\/picoclaw/);
      assert.doesNotMatch(all.host.stderr.text(), /onboard/);
    });
  });

  it("installs nothing where no systemd runs", async () => {
    await onMachine({}, async ({ run, root, unit, calls }) => {
      await rm(join(root, "run"), { recursive: true });
      await assert.rejects(run("service install", install), {
        message: "no systemd runs here, so no service was installed",
      });
      assert.equal(await calls(), "");
      await assert.rejects(stat(unit), { code: "ENOENT" });
      const { code } = await run("service install --dry-run", install);
      assert.equal(code, 0);
    });
  });

  it("says what failed", async () => {
    const programs = { systemctl: "echo no bus >&2; exit 4" };
    await onMachine({ programs }, async ({ run }) => {
      await assert.rejects(run("service install", install), {
        message: "systemctl --user daemon-reload failed (4)",
        why: "no bus",
      });
    });
  });

  for (const [name, file, script] of [
    ["OpenRC", "sbin/openrc-run", openrcScript],
    ["procd", "sbin/procd", procdScript],
  ] as const) {
    it(`prints a script for ${name}, which a shell can read`, async () => {
      await using folder = await temporaryFolder();
      await mkdir(join(folder.path, "sbin"));
      await writeFile(join(folder.path, file), "");
      await onMachine({}, async ({ context, calls }) => {
        const given = context("service install");
        assert.equal(
          await install(given, { root: folder.path, isRoot: true, program: PROGRAM }),
          0,
        );
        assert.match(given.host.stdout.text(), /^#!/);
        assert.match(given.host.stderr.text(), /write this script to \/etc\/init\.d\/picoclaw/);
        assert.equal(await calls(), "");
      });
      const { text } = script(["/opt/it's here/picoclaw"]);
      assert.equal(spawnSync("sh", ["-n"], { input: text }).status, 0);
    });
  }
});

describe("service uninstall", () => {
  it("stops and removes the unit, once", async () => {
    await onMachine({}, async ({ run, unit, calls }) => {
      await run("service install", install);
      assert.equal((await run("service uninstall --dry-run", uninstall)).code, 0);
      assert.ok((await stat(unit)).isFile());
      assert.match(
        (await run("service uninstall", uninstall)).host.stdout.text(),
        /removed; the data/,
      );
      await assert.rejects(stat(unit));
      assert.match(
        await calls(),
        /disable --now picoclaw\.service\nsystemctl --user daemon-reload\n$/,
      );
      assert.match(
        (await run("service uninstall", uninstall)).host.stdout.text(),
        /nothing to remove/,
      );
    });
  });
});

/** What `systemctl show` prints. */
function systemctlPrinting(state: string): object {
  const facts = `LoadState=loaded\\nUnitFileState=enabled\\nActiveState=${state}\\nSubState=running`;
  return { systemctl: `printf '${facts}\\nMainPID=7\\nResult=success\\n'` };
}

describe("service status", () => {
  it("is 0 for a service that runs", async () => {
    await onMachine({ programs: systemctlPrinting("active") }, async ({ run }) => {
      const { code, host } = await run("service status --json", status);
      assert.equal(code, 0);
      const { unit: _, ...line } = JSON.parse(host.stdout.text());
      assert.deepEqual(line, {
        v: 1,
        type: "service",
        scope: "user",
        installed: true,
        enabled: "enabled",
        active: "active",
        sub: "running",
        pid: 7,
        result: "success",
        linger: false,
      });
    });
  });

  it("is 3 for one that does not", async () => {
    await onMachine({ programs: systemctlPrinting("failed") }, async ({ run }) => {
      assert.equal((await run("service status", status)).code, 3);
    });
  });
});

describe("the unit", () => {
  const verify = spawnSync("systemd-analyze", ["--version"]).status === 0;
  for (const scope of ["system", "user"] as const) {
    it(`of the ${scope} is right for systemd`, { skip: !verify }, async () => {
      await using folder = await temporaryFolder();
      const program = join(folder.path, "a b%$c");
      await writeFile(program, "#!/bin/sh\n", { mode: 0o755 });
      const file = join(folder.path, "picoclaw.service");
      const text = unitText({ scope, program: [program], env: {}, passphraseFile: undefined });
      await writeFile(file, text);
      const words = ["verify", "--man=no", ...(scope === "user" ? ["--user"] : []), file];
      const env = { ...process.env, XDG_RUNTIME_DIR: folder.path };
      const { stdout, stderr } = spawnSync("systemd-analyze", words, { env, encoding: "utf8" });
      const about = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("picoclaw"));
      assert.deepEqual(about, []);
    });
  }

  it("has no line and no specifier out of a path", () => {
    const text = unitText({
      scope: "user",
      program: ["/a\nExecStartPre=/bin/evil"],
      env: { PICOCLAW_HOME: "/b\nExecStopPost=/bin/evil" },
      passphraseFile: "/h%h/key-passphrase",
    });
    assert.doesNotMatch(text, /^Exec(?:StartPre|StopPost)/m);
    assert.match(text, /^ExecStart="\/a\\u000aExecStartPre=\/bin\/evil" gateway$/m);
    assert.match(text, /^LoadCredential=picoclaw-key-passphrase:\/h%%h\/key-passphrase$/m);
  });

  it("does not restart what a restart does not mend", () => {
    const text = unitText({ scope: "user", program: ["/p"], env: {}, passphraseFile: undefined });
    assert.match(text, /^RestartPreventExitStatus=2 5 78$/m);
    assert.match(text, /^Type=notify$/m);
  });
});

describe("reportToSystemd", () => {
  it("says READY when all channels are subscribed, and STOPPING", async () => {
    await onMachine({ programs: { "systemd-notify": "" } }, async ({ context, calls }) => {
      const stop = new AbortController();
      const subscribed = Promise.withResolvers<void>();
      const channel = { name: "mqtt" };
      reportToSystemd(
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only the name counts
        { dialled: [channel as never], subscribed: () => subscribed.promise },
        { ...context("gateway"), signal: stop.signal },
        SILENT,
      );
      subscribed.resolve();
      await until("READY", async () => (await calls()).includes("--pid=42 READY=1\n"));
      stop.abort();
      await until("STOPPING", async () => (await calls()).includes("--pid=42 STOPPING=1\n"));
    });
  });
});

describe("logs", () => {
  it("prints what the journal has of the unit", async () => {
    const programs = { journalctl: "echo one; echo two" };
    await onMachine({ programs }, async ({ context, calls }) => {
      const given = context("logs --user --lines 5");
      assert.equal(await runLogs(given), 0);
      assert.equal(given.host.stdout.text(), "one\ntwo\n");
      const line = "journalctl --user-unit picoclaw.service --lines=5 --output=cat --no-pager\n";
      assert.equal(await calls(), line);
    });
  });

  it("obeys no text of the journal on a terminal", async () => {
    const programs = { journalctl: "printf 'one\\033]0;two\\007\\n'" };
    await onMachine({ programs }, async ({ context }) => {
      const given = context("logs --user");
      const env = { PATH: given.host.env["PATH"] ?? "" };
      const [piped, shown] = [
        createFakeHost([], { env }),
        createFakeHost([], { env, isTTY: true }),
      ];
      for (const host of [piped, shown]) assert.equal(await runLogs({ ...given, host }), 0);
      assert.equal(piped.stdout.text(), "one\u001b]0;two\u0007\n");
      assert.equal(shown.stdout.text(), "one\\x1b]0;two\\x07\n");
    });
  });

  it("ends with the signal while it follows", async () => {
    await onMachine({ programs: { journalctl: "exec sleep 60" } }, async ({ context, calls }) => {
      const stop = new AbortController();
      const ended = runLogs({ ...context("logs -f"), signal: stop.signal });
      await until("a call", async () => (await calls()).includes("--follow"));
      stop.abort(new Error("stopped"));
      await assert.rejects(ended, /stopped/);
    });
  });

  it("says that the journal has nothing of the service", async () => {
    await onMachine({ programs: { journalctl: "" } }, async ({ context }) => {
      const given = context("logs");
      assert.equal(await runLogs(given), 0);
      assert.match(
        given.host.stderr.text(),
        /^note: .* nothing of picoclaw\.service; .*terminal\n$/,
      );
      assert.equal(given.host.stdout.text(), "");
    });
  });

  it("says where logs are without systemd", async () => {
    await onMachine({}, async ({ context }) => {
      const given = context("logs");
      const env = { PATH: "/nowhere" };
      await assert.rejects(runLogs({ ...given, host: { ...given.host, env } }), /no journal/);
    });
  });
});
