import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { temporaryFolder } from "../support/temporary.ts";

const root = join(import.meta.dirname, "../..");
const bin = join(root, "node_modules/.bin");
const scripts = join(root, "scripts/release");
const ANSWER = /^I am the offline agent of picoclaw on .+\. No model is configured/m;

const isCi = process.env["CI"] !== undefined;
/** What Debian's packages libc6-arm64-cross, qemu-user-static, musl and libstdc++-12-dev bring. */
const needsMachines = {
  skip:
    !isCi &&
    ["/usr/bin/qemu-aarch64-static", "/usr/aarch64-linux-gnu", "/lib/ld-musl-x86_64.so.1"].some(
      (file) => !existsSync(file),
    ),
};

function run(program: string, args: readonly string[], env: Record<string, string> = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  return { ...result, said: `${result.stdout}${result.stderr}` };
}

function done(program: string, args: readonly string[], env: Record<string, string> = {}): string {
  const { status, said, stdout } = run(program, args, env);
  assert.equal(status, 0, said);
  return stdout;
}

/** The node that is new enough, if there is one. */
function nodes(): readonly (readonly string[])[] {
  const node = process.env["PICOCLAW_NODE"] ?? "node";
  const { stdout } = spawnSync(node, ["--version"], { encoding: "utf8" });
  const [major = 0, minor = 0] = stdout.slice(1).split(".").map(Number);
  return major > 22 || (major === 22 && minor >= 18) ? [[node]] : [];
}

describe("what a release hands out", () => {
  it(
    "runs on arm64, as a Debian package and from npm, and its checksums are right",
    needsMachines,
    async () => {
      await using place = await temporaryFolder();
      const out = join(place.path, "release");
      const url = "https://example.org/picoclaw/v1";
      done(join(bin, "bun"), [
        "scripts/release.ts",
        "--only",
        "linux-arm64",
        "--out",
        out,
        "--url",
        url,
      ]);
      const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
      assert.deepEqual(readdirSync(out).toSorted(), [
        "Dockerfile",
        "SHA256SUMS",
        "home-assistant-add-on",
        "install.sh",
        `picoclaw-${version}.tgz`,
        "picoclaw-linux-arm64.cdx.json",
        "picoclaw-linux-arm64.tar.gz",
        `picoclaw_${version}_arm64.deb`,
      ]);
      const sums = spawnSync("sha256sum", ["-c", "--strict", "SHA256SUMS"], {
        cwd: out,
        encoding: "utf8",
      });
      assert.equal(sums.status, 0, sums.stderr);
      assert.equal(sums.stdout.trim().split("\n").length, 6);
      assert.match(
        readFileSync(join(out, "install.sh"), "utf8"),
        /^url=\$\{PICOCLAW_URL:-https:\/\/example/m,
      );
      assert.match(
        readFileSync(join(out, "home-assistant-add-on/config.yaml"), "utf8"),
        /^version: "\d/m,
      );

      const deb = join(out, `picoclaw_${version}_arm64.deb`);
      done("dpkg-deb", ["--extract", deb, join(place.path, "deb")]);
      const program = join(place.path, "deb/usr/bin/picoclaw");
      done("tar", ["-xzf", join(out, "picoclaw-linux-arm64.tar.gz"), "-C", place.path]);
      const packed = join(place.path, "picoclaw-linux-arm64");
      assert.deepEqual(readdirSync(packed).toSorted(), [
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "picoclaw",
        "picoclaw.1",
      ]);
      assert.deepEqual(readFileSync(join(packed, "picoclaw")), readFileSync(program));
      const bom = JSON.parse(readFileSync(join(out, "picoclaw-linux-arm64.cdx.json"), "utf8"));
      const sha512 = createHash("sha512").update(readFileSync(program)).digest("hex");
      assert.equal(bom.metadata.component.hashes[0].content, sha512);
      const qemu = ["-L", "/usr/aarch64-linux-gnu", program];
      assert.equal(done("qemu-aarch64-static", [...qemu, "--version"]), `picoclaw ${version}\n`);
      assert.match(done("qemu-aarch64-static", [...qemu, "try", "hello"]), ANSWER);

      done("npm", [
        "install",
        "--prefix",
        place.path,
        "--offline",
        "--no-audit",
        "--no-fund",
        join(out, `picoclaw-${version}.tgz`),
      ]);
      const script = join(place.path, "node_modules/picoclaw/picoclaw.js");
      const runtimes = [[join(bin, "bun")], [join(bin, "deno"), "run", "-A"], ...nodes()];
      for (const [name = "", ...args] of runtimes) {
        assert.match(done(name, [...args, script, "try", "hello"]), ANSWER, name);
      }
      assert.match(done(join(bin, "bun"), [script, "version", "--licenses"]), /^mqtt /m);
      assert.match(done(join(bin, "bun"), [script, "help", "wire"]), /response/);
    },
  );

  it("runs where the C library is musl", needsMachines, async () => {
    await using place = await temporaryFolder();
    done(join(bin, "bun"), ["scripts/build.ts", "--target", "linux-x64-musl", "--out", place.path]);
    const said = done("sh", [
      join(scripts, "run-musl.sh"),
      join(place.path, "picoclaw"),
      "try",
      "hello",
    ]);
    assert.match(said, ANSWER);
  });

  it("names the targets when one is unknown", () => {
    const { status, said } = run(join(bin, "bun"), ["scripts/build.ts", "--target", "linux-arm"]);
    assert.notEqual(status, 0);
    assert.match(said, /no target linux-arm; there are linux-x64, .*windows-x64/);
  });
});

/** A release that holds one archive: a program for any machine that only says its version. */
async function openRelease() {
  const place = await temporaryFolder();
  const name = "picoclaw-linux-any";
  mkdirSync(join(place.path, name));
  const program = join(place.path, name, "picoclaw");
  writeFileSync(program, "#!/bin/sh\necho picoclaw 9.9.9\n");
  chmodSync(program, 0o755);
  done("tar", ["-czf", join(place.path, `${name}.tar.gz`), "-C", place.path, name]);
  const archive = readFileSync(join(place.path, `${name}.tar.gz`));
  const sum = createHash("sha256").update(archive).digest("hex");
  writeFileSync(join(place.path, "SHA256SUMS"), `${sum}  ${name}.tar.gz\n`);
  const install = (...more: readonly string[]) =>
    run("sh", [join(scripts, "install.sh"), "--target", "linux-any", ...more], {
      PICOCLAW_URL: `file://${place.path}`,
    });
  return {
    path: place.path,
    sum,
    install,
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  };
}

describe("install.sh", () => {
  it("puts the program into a folder, and says what comes next", async () => {
    await using release = await openRelease();
    const to = join(release.path, "bin");
    for (let time = 0; time < 2; time += 1) {
      const { status, stdout, said } = release.install("--to", to);
      assert.equal(status, 0, said);
      assert.match(
        stdout,
        /^installed picoclaw 9\.9\.9\nadd .+\/bin to PATH, now and in the profile of your shell: export PATH=".+\/bin:\$PATH"\nnext: picoclaw try\n$/m,
      );
      assert.deepEqual(readdirSync(to), ["picoclaw"]);
    }
    assert.equal(done(join(to, "picoclaw"), []), "picoclaw 9.9.9\n");
  });

  it("changes nothing with --dry-run, and says the checksum", async () => {
    await using release = await openRelease();
    const to = join(release.path, "bin");
    const { status, stdout } = release.install("--to", to, "--dry-run");
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(`^sha256 +${release.sum}$`, "m"));
    assert.equal(existsSync(to), false);
  });

  it("installs nothing whose checksum is another, and leaves what was there", async () => {
    await using release = await openRelease();
    const to = join(release.path, "bin");
    release.install("--to", to);
    writeFileSync(join(release.path, "picoclaw-linux-any.tar.gz"), "something else");
    const { status, stderr } = release.install("--to", to);
    assert.equal(status, 1);
    assert.match(
      stderr,
      /^error: the SHA-256 of picoclaw-linux-any\.tar\.gz is [0-9a-f]{64}\ntry: /,
    );
    assert.equal(done(join(to, "picoclaw"), []), "picoclaw 9.9.9\n");
  });

  it("says once that no program for checksums is here", async () => {
    await using release = await openRelease();
    const tools = join(release.path, "tools");
    mkdirSync(tools);
    for (const name of ["awk", "curl", "mktemp", "rm"]) {
      symlinkSync(done("sh", ["-c", `command -v ${name}`]).trim(), join(tools, name));
    }
    const words = ["--target", "linux-any", "--to", join(release.path, "bin")];
    const { status, stderr } = run("/bin/sh", [join(scripts, "install.sh"), ...words], {
      PATH: tools,
      PICOCLAW_URL: `file://${release.path}`,
    });
    assert.equal(status, 1);
    assert.equal(stderr, "error: neither sha256sum nor shasum is here\ntry: install coreutils\n");
  });

  it("leaves no half of a program where the disk is full", async () => {
    await using release = await openRelease();
    const [to, tools] = [join(release.path, "bin"), join(release.path, "tools")];
    mkdirSync(tools);
    writeFileSync(join(tools, "cp"), '#!/bin/sh\necho half >"$2"\nexit 1\n', { mode: 0o755 });
    const words = [join(scripts, "install.sh"), "--target", "linux-any", "--to", to];
    const env = {
      PATH: `${tools}:${process.env["PATH"]}`,
      PICOCLAW_URL: `file://${release.path}`,
    };
    assert.match(run("sh", words, env).stderr, /bin cannot be written/);
    assert.deepEqual(readdirSync(to), []);
  });

  it("says what is wrong in one sentence, and the way out", async () => {
    await using release = await openRelease();
    const address = { PICOCLAW_URL: `file://${release.path}` };
    const script = join(scripts, "install.sh");
    for (const [args, env, message] of [
      [["--wrong"], address, /there is no option --wrong/],
      [["--target", "linux-z80"], address, /has no picoclaw-linux-z80\.tar\.gz/],
      [["--target", "linux-any"], { PICOCLAW_URL: "file:///none" }, /cannot be downloaded/],
      [["--target", "linux-any"], {}, /no address of a release is known/],
    ] as const) {
      const { status, stderr } = run("sh", [script, ...args], { PICOCLAW_URL: "", ...env });
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.match(stderr, /^try: /m);
    }
  });

  it("knows which archive a machine needs", async () => {
    await using release = await openRelease();
    const tools = join(release.path, "tools");
    mkdirSync(tools);
    writeFileSync(join(tools, "ld-musl-aarch64.so.1"), "");
    // The loader of musl is there, as on a system of either library.
    const installer = readFileSync(join(scripts, "install.sh"), "utf8");
    const script = join(release.path, "install-here.sh");
    writeFileSync(script, installer.replace("/lib/ld-musl-", join(tools, "ld-musl-")));
    const machine = (system: string, processor: string, { bits = 64, isMusl = false } = {}) => {
      const glibc = isMusl ? "exit 1" : "echo glibc 2.41";
      for (const [name, text] of [
        ["uname", `#!/bin/sh\n[ "$1" = -s ] && echo ${system} || echo ${processor}\n`],
        ["getconf", `#!/bin/sh\n[ "$1" = LONG_BIT ] && echo ${bits} && exit\n${glibc}\n`],
      ] as const) {
        writeFileSync(join(tools, name), text, { mode: 0o755 });
      }
      const path = `${tools}:${process.env["PATH"]}`;
      const env = { PATH: path, PICOCLAW_URL: `file://${release.path}` };
      return run("sh", [script, "--dry-run"], env).stderr;
    };
    assert.match(machine("Linux", "aarch64"), /no picoclaw-linux-arm64\.tar\.gz/);
    const musl = machine("Linux", "aarch64", { isMusl: true });
    assert.match(musl, /no picoclaw-linux-arm64-musl\.tar\.gz/);
    assert.match(machine("Darwin", "arm64"), /no picoclaw-darwin-arm64\.tar\.gz/);
    assert.match(
      machine("Linux", "armv7l"),
      /no binary for 32-bit ARM\ntry: .*npm install -g picoclaw/,
    );
    assert.match(machine("Linux", "aarch64", { bits: 32 }), /32-bit on a 64-bit processor/);
    assert.match(machine("FreeBSD", "amd64"), /no binary for FreeBSD/);
  });
});

describe("the Home Assistant add-on", () => {
  it("writes a configuration that is valid, once", async () => {
    await using place = await temporaryFolder();
    const home = join(place.path, "home");
    const start = (model: string) => {
      const bashio = `bashio::services() { echo "$2-of-mqtt"; }
        bashio::config() { case $1 in agent_id) echo kitchen ;; model) echo '${model}' ;; api_key) echo 'sk-"x' ;; *) echo "\${2-}" ;; esac; }
        picoclaw() { env; }
        jq() { echo "$*" >>'${join(place.path, "arguments")}'; command jq "$@"; }
        exec() { "$@"; }
        . ${join(scripts, "home-assistant-add-on/run.sh")}`;
      return done("bash", ["-c", bashio], { PICOCLAW_HOME: home });
    };
    const env = start("openai/m");
    assert.match(env, /^PICOCLAW_CHANNELS_MQTT_BROKER=tcp:\/\/host-of-mqtt:port-of-mqtt$/m);
    // Ingress comes from another container.
    assert.match(env, /^PICOCLAW_GATEWAY_HOST=0\.0\.0\.0$/m);
    start("another/m");
    const config = JSON.parse(readFileSync(join(home, "config.json"), "utf8"));
    assert.deepEqual(config.model_list, [
      { model_name: "default", model: "openai/m", api_keys: ['sk-"x'] },
    ]);
    assert.ok(!readFileSync(join(place.path, "arguments"), "utf8").includes('sk-"x'));
  });
});
