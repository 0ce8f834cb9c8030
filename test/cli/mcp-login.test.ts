import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openOAuthServer } from "../support/mcp-oauth-server.ts";
import type { OAuthServer } from "../support/mcp-oauth-server.ts";
import { startModelServer } from "../support/model-server.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  picoclaw,
  startGateway,
  startOnTerminal,
  startPicoclaw,
  temporaryHome,
} from "../support/picoclaw.ts";
import type { Running } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";
import { openWebServer, redirectedFrom } from "../support/web-server.ts";

const configOf = ({ url }: OAuthServer, auth: object) => ({
  version: 3,
  tools: { mcp: { enabled: true, servers: { notes: { enabled: true, url, auth } } } },
});

/** Where the browser of a person is sent back to, who allowed it. */
async function allowed(login: Running): Promise<string> {
  await until("the address is printed", () => login.stdout().includes("\n"));
  return redirectedFrom(login.stdout().split("\n")[0] ?? "");
}

describe("picoclaw mcp login", () => {
  it("takes the answer of a browser on this machine, and keeps the tokens for the user alone", async () => {
    await using oauth = await openOAuthServer();
    const redirect_port = await freePort();
    await using home = await temporaryHome(configOf(oauth, { redirect_port }));
    const before = await picoclaw(["mcp", "test"], { home: home.path });
    assert.equal(before.code, 1);
    assert.match(before.stdout, /a person has to allow it first: picoclaw mcp login notes/);
    await using login = startPicoclaw(["mcp", "login", "notes"], { home: home.path, typed: true });
    const address = await allowed(login);
    assert.equal(new URL(address).port, String(redirect_port));
    const strange = address.replace(/state=[^&]+/, "state=another");
    assert.equal((await fetch(strange)).status, 404);
    assert.match(await (await fetch(address)).text(), /picoclaw has the answer/);
    const { code, stdout, stderr } = await login.ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /\nnotes\tok\t2 tools\tofficial 2\t/);
    const file = join(home.path, "workspace", "state", "mcp-login-notes.json");
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const text = await readFile(file, "utf8");
    assert.ok(oauth.given.every((token) => text.includes(token)));
    assert.ok(oauth.given.every((token) => !(stdout + stderr).includes(token)));
    oauth.expire();
    const after = await picoclaw(["mcp", "test"], { home: home.path });
    assert.equal(after.code, 0, after.stdout);
    assert.deepEqual(oauth.grants, ["authorization_code", "refresh_token"]);
  });

  it("takes the address of a browser elsewhere, which is pasted", async () => {
    await using oauth = await openOAuthServer();
    await using other = await openWebServer(() => {});
    await using home = await temporaryHome(configOf(oauth, { redirect_port: other.port }));
    await using login = startOnTerminal(["mcp", "login", "notes"], { home: home.path });
    await login.said("address: ");
    const [url = ""] = /http:\S+/.exec(login.stdout()) ?? [];
    const address = await redirectedFrom(url);
    login.type("no address\n");
    await login.said(/not the address of this login[^]*address: /);
    login.type(`${address}\n`);
    const { code, stdout } = await login.ended;
    assert.equal(code, 0, stdout);
    assert.match(stdout, /port \d+ cannot be listened on: another program uses it/);
    assert.deepEqual(oauth.grants, ["authorization_code"]);
  });

  it("ends although another program holds a connection to its port", async () => {
    await using oauth = await openOAuthServer();
    const redirect_port = await freePort();
    await using home = await temporaryHome(configOf(oauth, { redirect_port }));
    await using login = startPicoclaw(["mcp", "login", "notes"], { home: home.path, typed: true });
    const address = await allowed(login);
    const silent = connect(redirect_port, "127.0.0.1");
    await once(silent, "connect");
    silent.write("GET /callback HTTP/1.1\r\n");
    silent.on("error", () => {});
    const startedAt = performance.now();
    assert.equal((await fetch(address)).status, 200);
    const { code, stderr } = await login.ended;
    assert.equal(code, 0, stderr);
    const passed = performance.now() - startedAt;
    assert.ok(passed < 9_000, `${passed} ms`);
    silent.destroy();
  });

  it("is seen by a gateway that runs already", needsMosquitto, async () => {
    await using oauth = await openOAuthServer();
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    const config = { ...modelConfig(broker.url, model.base), ...configOf(oauth, {}) };
    await using home = await temporaryHome(config);
    await using gateway = await startGateway({ home: home.path });
    await gateway.said(/not connected.*picoclaw mcp login notes/);
    await using login = startPicoclaw(["mcp", "login", "notes"], { home: home.path, typed: true });
    assert.equal((await fetch(await allowed(login))).status, 200);
    const { code, stderr } = await login.ended;
    assert.equal(code, 0, stderr);
    await gateway.said(/connected to an MCP server.*"tools":2/);
    assert.ok(oauth.given.every((token) => !gateway.stderr().includes(token)));
  });

  it("prints an address on a terminal that can be copied in one piece, and ends at Ctrl-C", async () => {
    await using oauth = await openOAuthServer();
    await using home = await temporaryHome(configOf(oauth, { redirect_port: await freePort() }));
    await using login = startOnTerminal(["mcp", "login", "notes"], { home: home.path });
    await login.said("paste its address");
    const address = /http:\S+authorize\S+/.exec(login.stdout())?.[0] ?? "";
    assert.ok(new URL(address).searchParams.has("resource"), address);
    login.type("\u0003");
    const { code, stdout } = await login.ended;
    assert.equal(code, 130, stdout);
    assert.deepEqual(oauth.grants, []);
  });

  it("is for servers that a person allows", async () => {
    await using oauth = await openOAuthServer();
    const client_secret = "s3cret-of-the-client";
    const auth = { grant: "client_credentials", client_id: "kitchen", client_secret };
    await using home = await temporaryHome(configOf(oauth, { ...auth, issuer: oauth.issuer }));
    const { code, stderr } = await picoclaw(["mcp", "login", "notes"], { home: home.path });
    assert.equal(code, 1);
    assert.match(stderr, /notes needs no login/);
    const nameless = await picoclaw(["mcp", "login"], { home: home.path });
    assert.equal(nameless.code, 2);
    const test = await picoclaw(["mcp", "test"], { home: home.path });
    assert.equal(test.code, 0, test.stdout);
    const shown = await picoclaw(["config", "show"], { home: home.path });
    assert.match(shown.stdout, /client_credentials/);
    assert.doesNotMatch(shown.stdout, /s3cret-of/);
  });
});

/** Logs in with a browser of this machine. */
async function logInAt(home: string): Promise<void> {
  await using login = startPicoclaw(["mcp", "login", "notes"], { home, typed: true });
  await fetch(await allowed(login));
  const { code, stderr } = await login.ended;
  assert.equal(code, 0, stderr);
}

describe("picoclaw mcp logout", () => {
  it("forgets the tokens here, and has both revoked", async () => {
    await using oauth = await openOAuthServer({ revocation: 200 });
    await using home = await temporaryHome(configOf(oauth, { redirect_port: await freePort() }));
    await logInAt(home.path);
    const { code, stdout, stderr } = await picoclaw(["mcp", "logout", "notes"], {
      home: home.path,
    });
    assert.deepEqual([code, stdout, stderr], [0, "notes\tlogged out\n", ""]);
    assert.deepEqual(oauth.revoked.toSorted(), oauth.given.toSorted());
    const files = await readdir(join(home.path, "workspace", "state"));
    assert.ok(!files.includes("mcp-login-notes.json"), files.join(" "));
    const again = await picoclaw(["mcp", "logout", "notes", "--json"], { home: home.path });
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(JSON.parse(again.stdout), {
      v: 1,
      type: "mcp_logout",
      name: "notes",
      forgotten: false,
      revoked: false,
    });
  });

  it("says so where the tokens are forgotten but not revoked", async () => {
    for (const revocation of [undefined, 503] as const) {
      await using oauth = await openOAuthServer(revocation && { revocation });
      await using home = await temporaryHome(configOf(oauth, { redirect_port: await freePort() }));
      await logInAt(home.path);
      const { code, stdout, stderr } = await picoclaw(["mcp", "logout", "notes"], {
        home: home.path,
      });
      assert.equal(stdout, "notes\tlogged out here\n");
      assert.equal(code, revocation === undefined ? 0 : 1);
      assert.ok(stderr.includes(`take them back at ${oauth.issuer}`), stderr);
      assert.match(stderr, revocation ? /it refuses without a code/ : /offers no revocation/);
      assert.ok(oauth.given.every((token) => !(stdout + stderr).includes(token)));
      const after = await picoclaw(["mcp", "test"], { home: home.path });
      assert.match(after.stdout, /a person has to allow it first/);
    }
  });

  it("forgets a login that was for another address, and one that cannot be read", async () => {
    await using oauth = await openOAuthServer({ revocation: 200 });
    const config = configOf(oauth, { redirect_port: await freePort() });
    await using home = await temporaryHome(config);
    await logInAt(home.path);
    await writeFile(
      join(home.path, "config.json"),
      JSON.stringify(configOf({ ...oauth, url: `${oauth.issuer}/moved` }, {})),
    );
    const moved = await picoclaw(["mcp", "logout", "notes"], { home: home.path });
    assert.equal(moved.stdout, "notes\tlogged out\n", moved.stderr);
    assert.equal(oauth.revoked.length, 2);
    const file = join(home.path, "workspace", "state", "mcp-login-notes.json");
    await writeFile(file, "{");
    const broken = await picoclaw(["mcp", "logout", "notes"], { home: home.path });
    assert.equal(broken.code, 0, broken.stderr);
    await assert.rejects(stat(file), { code: "ENOENT" });
    const nameless = await picoclaw(["mcp", "logout"], { home: home.path });
    assert.equal(nameless.code, 2);
  });
});
