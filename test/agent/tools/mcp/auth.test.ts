import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { loginTokens } from "../../../../src/agent/tools/mcp/auth/login-tokens.ts";
import { logIn } from "../../../../src/agent/tools/mcp/auth/login.ts";
import { logOut } from "../../../../src/agent/tools/mcp/auth/logout.ts";
import { oauthFetch } from "../../../../src/agent/tools/mcp/auth/oauth-fetch.ts";
import type { McpDocuments } from "../../../../src/agent/tools/mcp/contract.ts";
import { Secret } from "../../../../src/base/secret.ts";
import type { McpAuthSettings } from "../../../../src/config/contract.ts";
import { CLIENT, openOAuthServer } from "../../../support/mcp-oauth-server.ts";
import type { OAuthServer } from "../../../support/mcp-oauth-server.ts";
import { mapDocuments, mcpServer, openTestMcp } from "../../../support/mcp.ts";
import { until } from "../../../support/until.ts";
import { redirectedFrom } from "../../../support/web-server.ts";

const PERSON: McpAuthSettings = {
  grant: "authorization_code",
  client_id: "",
  issuer: "",
  scope: "",
  redirect_port: 18_792,
};

const machine = (issuer: string, more: Partial<McpAuthSettings> = {}): McpAuthSettings => ({
  ...PERSON,
  grant: "client_credentials",
  client_id: CLIENT.id,
  client_secret: new Secret(CLIENT.secret),
  issuer,
  ...more,
});

const serverOf = ({ url }: OAuthServer, auth: McpAuthSettings) =>
  mcpServer({ type: "http", url, auth });

const shout = (servers: { run: (name: string, input: object) => Promise<string> }) =>
  servers.run("mcp_test_shout", { word: "hey" });

/** Allows the server as a person would, whose browser follows the address at once. */
async function logInTo(
  { url }: OAuthServer,
  documents: McpDocuments,
  changed: readonly [name: string, value: string] = ["", ""],
  auth = PERSON,
): Promise<void> {
  await logIn({
    settings: { name: "test", url, auth, headers: {} },
    documents,
    fetch: globalThis.fetch,
    learn: () => {},
    async authorize(address) {
      const { searchParams } = new URL(await redirectedFrom(address));
      searchParams.set(...changed);
      return searchParams;
    },
  });
}

describe("a server that wants tokens of the gateway itself", () => {
  it("gets them, and new ones when they end, once for calls at the same time", async () => {
    await using oauth = await openOAuthServer();
    await using servers = await openTestMcp([serverOf(oauth, machine(oauth.issuer))]);
    assert.equal(await shout(servers), "HEY");
    assert.deepEqual(oauth.grants, ["client_credentials"]);
    oauth.expire();
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => shout(servers))), ["HEY", "HEY", "HEY"]);
    assert.equal(oauth.grants.length, 2);
    const [token = ""] = oauth.given;
    assert.ok(servers.learned.includes(token));
    assert.doesNotMatch(servers.log.text(), /s3cret-of|access-/);
  });

  it("gets a wider one when it wants more", async () => {
    await using oauth = await openOAuthServer();
    await using servers = await openTestMcp([serverOf(oauth, machine(oauth.issuer))]);
    oauth.want("write");
    assert.equal(await shout(servers), "HEY");
  });

  it("does not get the secret to another authorization server", async () => {
    await using thief = await openOAuthServer();
    await using oauth = await openOAuthServer({ issuer: thief.issuer });
    await using servers = await openTestMcp([serverOf(oauth, machine(oauth.issuer))]);
    assert.match(servers.log.text(), /names another authorization server than auth\.issuer/);
    assert.deepEqual([...thief.grants, ...oauth.grants], []);
  });

  it("does not get the secret to where the authorization server sends it on", async () => {
    await using thief = await openOAuthServer();
    await using oauth = await openOAuthServer({ movedTo: `${thief.issuer}/token` });
    await using servers = await openTestMcp([serverOf(oauth, machine(oauth.issuer))]);
    assert.match(servers.log.text(), /not connected.*there is no token for it/);
    assert.deepEqual(thief.grants, []);
  });

  it("that refuses the secret is named in the log, and the secret is not", async () => {
    await using oauth = await openOAuthServer();
    const auth = machine(oauth.issuer, { client_secret: new Secret("wrong-word-of-the-client") });
    await using servers = await openTestMcp([serverOf(oauth, auth)]);
    const log = servers.log.text();
    assert.match(log, /its authorization server gives no token: invalid_client/);
    assert.doesNotMatch(log, /wrong-word|Basic/);
  });

  it("gets a signature of a key, however it is written", async () => {
    await using oauth = await openOAuthServer();
    const { client_secret: _, ...rest } = machine(oauth.issuer);
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    for (const type of ["pkcs8", "sec1"] as const) {
      const pem = privateKey.export({ type, format: "pem" });
      const auth = { ...rest, private_key: new Secret(pem) };
      await using servers = await openTestMcp([serverOf(oauth, auth)]);
      assert.equal(await shout(servers), "HEY", servers.log.text());
    }
    assert.deepEqual(oauth.algorithms, ["ES256", "ES256"]);
  });

  it("gets no signature by what is not such a key", async () => {
    await using oauth = await openOAuthServer();
    const { client_secret: _, ...rest } = machine(oauth.issuer);
    const { privateKey } = generateKeyPairSync("ed25519");
    for (const pem of ["CANARY", privateKey.export({ type: "pkcs8", format: "pem" })]) {
      const auth = { ...rest, private_key: new Secret(pem) };
      await using servers = await openTestMcp([serverOf(oauth, auth)]);
      assert.match(servers.log.text(), /private_key is no RSA or EC key/);
      assert.doesNotMatch(servers.log.text(), /CANARY|BEGIN/);
    }
    assert.deepEqual(oauth.grants, []);
  });
});

describe("what a server says about its authorization server", () => {
  it("is looked for nowhere but on the web, wherever it leads", async () => {
    const asked: string[] = [];
    const send = (location: string) =>
      oauthFetch(async (address) => {
        asked.push(address);
        return new Response(null, { status: 302, headers: { location } });
      }, "https://mcp.test/mcp");
    for (const inner of [
      "http://169.254.169.254/latest",
      "http://127.0.0.1/x",
      "file:///etc/passwd",
    ])
      await assert.rejects(async () => send(inner)("https://mcp.test/a"), /not reached by https/);
    assert.deepEqual(
      asked,
      Array.from({ length: 3 }, () => "https://mcp.test/a"),
    );
    await assert.rejects(async () => send("/b")("https://mcp.test/a"), /redirects without an end/);
    assert.equal(asked.length, 7);
  });
});

describe("a server that a person has to allow", () => {
  it("says so until then, works without a restart, and its tokens are renewed", async () => {
    await using oauth = await openOAuthServer();
    const found = new Map<string, object>();
    const documents = mapDocuments(found);
    await using servers = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    assert.match(servers.log.text(), /a person has to allow it first: picoclaw mcp login test/);
    await logInTo(oauth, documents);
    await until("it is connected", () => servers.tools().length > 0);
    assert.equal(await shout(servers), "HEY");
    oauth.expire();
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => shout(servers))), ["HEY", "HEY", "HEY"]);
    assert.deepEqual(oauth.grants, ["authorization_code", "refresh_token"]);
    const newest = oauth.given.slice(-2);
    const kept = JSON.stringify(found.get("mcp-login-test"));
    assert.ok(newest.every((token) => kept.includes(token) && servers.learned.includes(token)));
    await using later = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    assert.equal(await shout(later), "HEY");
  });

  it("is used by two processes of one home, and neither takes the tokens from the other", async () => {
    await using oauth = await openOAuthServer();
    const documents = mapDocuments();
    await logInTo(oauth, documents);
    await using first = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    await using second = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    for (let times = 1; times <= 2; times += 1) {
      oauth.expire();
      assert.deepEqual(await Promise.all([shout(first), shout(second)]), ["HEY", "HEY"]);
    }
  });

  it("is used until the end of the process where tokens cannot be written", async () => {
    await using oauth = await openOAuthServer();
    const documents = mapDocuments();
    await logInTo(oauth, documents);
    const full = Object.assign(new Error("no space"), { code: "ENOSPC" });
    const readOnly = { ...documents, write: () => Promise.reject(full) };
    await using servers = await openTestMcp([serverOf(oauth, PERSON)], {}, readOnly);
    for (let times = 1; times <= 3; times += 1) {
      oauth.expire();
      assert.equal(await shout(servers), "HEY");
    }
  });

  it("is not used any more after a logout, though its tokens are still good", async () => {
    await using oauth = await openOAuthServer({ revocation: 200 });
    const documents = mapDocuments();
    await logInTo(oauth, documents);
    await using servers = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    assert.equal(await shout(servers), "HEY");
    await documents.remove("mcp-login-test");
    assert.match(await shout(servers), /a person has to allow it first: picoclaw mcp login test/);
    assert.deepEqual(oauth.grants, ["authorization_code"]);
  });

  it("is revoked as the client with a secret that asked for it", async () => {
    await using oauth = await openOAuthServer({ revocation: 200 });
    const documents = mapDocuments();
    const { id: client_id, secret } = CLIENT;
    const client_secret = new Secret(secret);
    const auth = { ...PERSON, client_id, client_secret, issuer: oauth.issuer };
    await logInTo(oauth, documents, undefined, auth);
    const sent: string[] = [];
    const done = await logOut({
      settings: { name: "test", url: oauth.url },
      documents,
      learn: () => {},
      fetch: async (url, init) => {
        sent.push(`${url} ${new Headers(init.headers).get("authorization")}`);
        return await fetch(url, init);
      },
    });
    assert.deepEqual(done, { kind: "revoked", issuer: oauth.issuer });
    const basic = Buffer.from(`${client_id}:${secret}`).toString("base64");
    const line = `${oauth.issuer}/revoke Basic ${basic}`;
    assert.deepEqual(sent, [line, line]);
    assert.deepEqual(oauth.revoked.toSorted(), oauth.given.toSorted());
  });

  it("is named in the log with the reason if its tokens cannot be read", async () => {
    await using oauth = await openOAuthServer();
    const denied = Object.assign(new Error("CANARY"), { code: "EACCES" });
    const documents = { ...mapDocuments(), read: () => Promise.reject(denied) };
    await using servers = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    assert.match(servers.log.text(), /not connected.*tokens for it cannot be read \(EACCES\)/);
    assert.doesNotMatch(servers.log.text(), /CANARY/);
  });

  it("asks for another login when the tokens are taken back", async () => {
    await using oauth = await openOAuthServer();
    const documents = mapDocuments();
    await logInTo(oauth, documents);
    await using servers = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    oauth.expire();
    oauth.revoke();
    const sentence =
      /^error: the MCP server test failed: a person has to allow it .*: picoclaw mcp login test$/;
    assert.match(await shout(servers), sentence);
    assert.match(await shout(servers), sentence);
    assert.equal(oauth.grants.filter((grant) => grant === "refresh_token").length, 1);
    await logInTo(oauth, documents);
    assert.equal(await shout(servers), "HEY");
  });

  it("asks for more than was allowed with the next login", async () => {
    await using oauth = await openOAuthServer();
    const documents = mapDocuments();
    await logInTo(oauth, documents);
    await using servers = await openTestMcp([serverOf(oauth, PERSON)], {}, documents);
    oauth.want("write");
    assert.match(
      await shout(servers),
      /a person has to allow more of it first: picoclaw mcp login/,
    );
    await logInTo(oauth, documents);
    assert.equal(await shout(servers), "HEY");
  });

  it("that wants other scopes all the time is not remembered with all of them", async () => {
    await using oauth = await openOAuthServer();
    const found = new Map<string, object>();
    let writes = 0;
    const kept = mapDocuments(found);
    const documents: McpDocuments = {
      ...kept,
      write(name, document) {
        writes += 1;
        return kept.write(name, document);
      },
    };
    await logInTo(oauth, documents);
    const tokens = loginTokens({
      settings: { name: "test", url: oauth.url, auth: PERSON },
      documents,
      fetch: globalThis.fetch,
      learn: () => {},
    });
    const before = writes;
    for (let count = 0; count < 50; count += 1) {
      const challenge = { scope: `scope-${count}-${"x".repeat(100)}`, isTooNarrow: true };
      await assert.rejects(tokens.renew(await tokens.token(), challenge), /allow more of it/);
    }
    assert.ok(writes - before < 25, `${writes - before} writes`);
    assert.ok(JSON.stringify(found.get("mcp-login-test")).length < 5_000);
  });

  it("gets no code of another login, and none that was refused", async () => {
    await using oauth = await openOAuthServer();
    const documents = mapDocuments();
    await assert.rejects(logInTo(oauth, documents, ["state", "another"]), /another login/);
    await assert.rejects(
      logInTo(oauth, documents, ["error", "access_denied"]),
      /it was not allowed: access_denied/,
    );
    assert.deepEqual(oauth.grants, []);
  });

  it("is asked for nothing if it names another authorization server than it should", async () => {
    await using thief = await openOAuthServer();
    await using oauth = await openOAuthServer({ issuer: thief.issuer });
    const known = { ...PERSON, issuer: oauth.issuer };
    const ofClient = { client_id: CLIENT.id, client_secret: new Secret(CLIENT.secret) };
    for (const auth of [known, { ...known, ...ofClient }]) {
      const login = logInTo(oauth, mapDocuments(), undefined, auth);
      await assert.rejects(login, /another authorization server than auth\.issuer/);
    }
    assert.deepEqual([...thief.grants, ...oauth.grants], []);
    await logInTo(oauth, mapDocuments(), undefined, { ...known, issuer: `${thief.issuer}/` });
  });

  it("at another address gets nothing of a former login", async () => {
    await using oauth = await openOAuthServer();
    await using moved = await openOAuthServer();
    const documents = mapDocuments();
    await logInTo(oauth, documents);
    await using servers = await openTestMcp([serverOf(moved, PERSON)], {}, documents);
    assert.match(servers.log.text(), /a person has to allow it first/);
  });
});
