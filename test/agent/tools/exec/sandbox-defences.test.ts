import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { findBubblewrap } from "../../../../src/agent/tools/exec/sandbox/sandbox.ts";
import { createCommands } from "../../../support/commands.ts";
import { withBubblewrap } from "../../../support/sandbox.ts";
import { temporaryFolder } from "../../../support/temporary.ts";

const BWRAP = { sandbox: "bwrap" } as const;
const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
const RUN = process.versions["deno"] !== undefined ? ["run", "-A", "--no-check", "--quiet"] : [];
const isRoot = process.getuid?.() === 0;
const run = promisify(execFile);

/** Where machines keep keys and passwords, and what services keep to themselves. */
const SECRETS = [
  "etc/shadow etc/shadow- etc/gshadow etc/gshadow- etc/sudoers etc/sudoers.d/x etc/ssh/x",
  "etc/ssl/private/x etc/pki/tls/private/x etc/letsencrypt/live/x etc/mosquitto/x",
  "etc/NetworkManager/system-connections/x etc/netplan/x etc/wpa_supplicant/x etc/wireguard/x",
  "etc/openvpn/x etc/ppp/x etc/docker/x etc/credstore/x etc/credstore.encrypted/x etc/cloud/x",
  "var/lib/docker/x var/lib/containerd/x var/lib/lxd/x var/lib/incus/x var/snap/lxd/x",
  "var/lib/libvirt/x var/lib/systemd/x var/lib/private/x var/spool/x var/backups/x var/mail/x",
].flatMap((line) => line.split(" "));
/** The same mode, in no place of keys: what shows that the machine is seen at all. */
const OPEN = ["etc/x", "etc/wifi/x", "var/lib/x"];
/** What a program needs to start; of the machine's own. */
const NEEDED = ["passwd", "group", "nsswitch.conf", "ld.so.cache", "alternatives"];

/** Words that put a process on a machine with other folders in the places of these. */
async function machineWith(folder: string): Promise<readonly string[]> {
  const modules = await realpath(join(import.meta.dirname, "../../../../node_modules"));
  const own = [
    join(import.meta.dirname, "../../../.."),
    modules,
    dirname(process.execPath),
    tmpdir(),
  ];
  return [
    // Sockets of other tests come and go in /srv.
    ..."--bind / / --dev-bind /dev /dev --tmpfs /srv".split(" "),
    ...["etc", "var"].flatMap((name) => ["--bind", join(folder, name), `/${name}`]),
    ...own.flatMap((path) => ["--bind", path, path]),
    ...(isRoot ? ["--cap-add", "ALL"] : []),
    "--",
  ];
}

/** A machine whose secrets everyone may read: nothing but the sandbox keeps a command from them. */
async function layOut(folder: string): Promise<void> {
  await mkdir(join(folder, "var/tmp"), { recursive: true });
  for (const path of [...SECRETS, ...OPEN]) {
    await mkdir(dirname(join(folder, path)), { recursive: true, mode: 0o755 });
    await writeFile(join(folder, path), "the secret\n", { mode: 0o644 });
  }
  for (const name of NEEDED) {
    const copied = cp(join("/etc", name), join(folder, "etc", name), { recursive: true });
    await copied.catch(() => undefined);
  }
}

describe("a command in a sandbox", await withBubblewrap(), () => {
  it("sees no place of keys, though everyone on the machine may read it", async () => {
    await using machine = await temporaryFolder();
    await using folder = await temporaryFolder();
    await layOut(machine.path);
    const found = await findBubblewrap(PATH);
    assert.ok("program" in found);
    const words = [
      ...(await machineWith(machine.path)),
      process.execPath,
      ...RUN,
      join(import.meta.dirname, "sandboxed-command.ts"),
      "once",
      await realpath(folder.path),
      "grep -rsl 'the secret' /etc /var; true",
    ];
    const { stdout } = await run(found.program, words, { timeout: 55_000 });
    const seen = stdout.split("\n").filter((line) => line.startsWith("/"));
    assert.deepEqual(seen.toSorted(), OPEN.map((path) => `/${path}`).toSorted(), stdout);
  });

  it(
    "sees neither the configuration's folder nor a file of keys, where all else can be read",
    { skip: isRoot ? false : "only root can put them where the sandbox does not hide all" },
    async () => {
      const path = await mkdtemp("/srv/picoclaw-test-");
      try {
        await chmod(path, 0o755);
        await mkdir(join(path, "home"));
        for (const name of ["home/config.json", "home/.security.yml", "key.pem", "open"]) {
          await writeFile(join(path, name), "the secret\n", { mode: 0o644 });
        }
        await using commands = await createCommands(BWRAP, {
          configFile: join(path, "home/config.json"),
          secretFiles: [join(path, "key.pem")],
        });
        const text = await commands.call({ command: `grep -rsl 'the secret' ${path}; true` });
        assert.equal(text, `${path}/open\n[exit code 0]`);
      } finally {
        await rm(path, { recursive: true });
      }
    },
  );

  it("makes no namespace of its own, in which it would have every capability", async (test) => {
    const found = await findBubblewrap(PATH);
    if (!("program" in found && found.options.has("--disable-userns"))) {
      return test.skip("this bubblewrap cannot forbid it");
    }
    await using commands = await createCommands(BWRAP);
    // With -r a map of users would be written, too, which fails in some machines for other reasons.
    const text = await commands.call({
      command: "unshare -U grep CapEff /proc/self/status; unshare -Um true; bwrap true",
    });
    assert.doesNotMatch(text, /CapEff/);
    assert.match(text, /unshare failed/);
    assert.doesNotMatch(text, /exit code 0\b/);
  });
});
