import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { maskedIn, secretsIn } from "../../src/config/secrets.ts";
import { allTextOf, failureFrom, inHome, loadedFrom, warningText } from "./home.ts";

const withServers = (servers: object, more: object = {}) => ({
  version: 3,
  tools: { mcp: { enabled: true, servers, ...more } },
});

describe("tools.mcp", () => {
  it("is nothing while it is off, as in Go PicoClaw, or without a server that is on", async () => {
    const files = { enabled: true, command: "npx" };
    for (const mcp of [
      undefined,
      {},
      { servers: { files } },
      { enabled: true, servers: {} },
      { enabled: true, servers: { files: { ...files, enabled: false } } },
    ]) {
      const { config } = await loadedFrom({ version: 3, tools: { mcp } });
      assert.equal(config.tools.mcp, undefined, JSON.stringify(mcp));
    }
    const forgotten = await loadedFrom(withServers({ files: { command: "npx" } }));
    assert.match(warningText(forgotten), /servers\.files: is not used: it is not enabled/);
  });

  it("is read as Go PicoClaw writes it", async () => {
    const servers = {
      files: {
        enabled: true,
        command: "npx",
        args: ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"],
        env: { LEVEL: "1" },
        env_file: "files.env",
      },
      far: {
        enabled: true,
        deferred: false,
        type: "sse",
        url: "https://mcp.test/mcp",
        headers: { Authorization: "Bearer t" },
      },
    };
    const discovery = {
      enabled: true,
      ttl: 0,
      max_search_results: 7,
      use_bm25: false,
      use_regex: true,
    };
    const loaded = await loadedFrom(withServers(servers, { discovery, max_inline_text_chars: 0 }));
    const { mcp } = loaded.config.tools;
    assert.deepEqual(mcp?.discovery, { ...discovery, ttl: 5 });
    assert.equal(mcp.max_inline_text_chars, 16_384);
    const [files, far] = mcp.servers;
    assert.deepEqual(files?.args, servers.files.args);
    assert.equal(files.type, "stdio");
    assert.equal(files.env["LEVEL"]?.reveal(), "1");
    assert.match(files.env_file ?? "", /workspace\/files\.env$/);
    assert.ok(loaded.secretFiles.some((file) => file === files.env_file));
    assert.deepEqual([far?.type, far?.url, far?.deferred], ["http", servers.far.url, false]);
    assert.equal(far?.timeout_seconds, 60);
    assert.doesNotMatch(warningText(loaded), /mcp/);
  });

  it("with what cannot be is reported with its path", async () => {
    const failure = await failureFrom(
      withServers({
        a: { enabled: true, type: "stdio" },
        b: { enabled: true },
        c: { enabled: true, url: "ftp://x" },
        d: { enabled: true, command: "x", headers: { "a b": "c" } },
        e: { enabled: true, command: "x", timeout_seconds: 0, type: "smoke" },
      }),
    );
    const text = allTextOf(failure);
    assert.match(text, /servers\.a: command is missing/);
    assert.match(text, /servers\.b: command or url is missing/);
    assert.match(text, /servers\.c\.url.*http or https/);
    assert.match(text, /servers\.d\.headers/);
    assert.match(text, /servers\.e\.timeout_seconds/);
    assert.match(text, /servers\.e\.type/);
  });

  it("has secrets of OAuth, which go to one authorization server only", async () => {
    const url = "https://mcp.test/mcp";
    const machine = { grant: "client_credentials", client_id: "kitchen", client_secret: "s3cret" };
    const issuer = "https://id.test";
    const far = { enabled: true, url, auth: { ...machine, issuer } };
    const { config } = await loadedFrom(
      withServers({ far, open: { enabled: true, url, auth: {} } }),
    );
    const [first, second] = config.tools.mcp?.servers ?? [];
    assert.equal(first?.auth?.client_secret?.reveal(), "s3cret");
    assert.deepEqual(secretsIn(config.tools), ["s3cret"]);
    assert.deepEqual(second?.auth, {
      grant: "authorization_code",
      client_id: "",
      issuer: "",
      scope: "",
      redirect_port: 18_792,
    });
    const failure = await failureFrom(
      withServers({
        a: { enabled: true, url, auth: machine },
        b: { enabled: true, url, auth: { grant: "client_credentials" } },
        c: { enabled: true, url, auth: { private_key: "k", client_id: "c", issuer } },
        d: { enabled: true, url, auth: { ...machine, private_key: "k", issuer } },
        e: { enabled: true, url, auth: {}, headers: { authorization: "Bearer t" } },
        f: { enabled: true, url, auth: { client_secret: "s3cret", issuer } },
      }),
    );
    const text = allTextOf(failure);
    assert.match(text, /servers\.a\.auth: issuer is missing/);
    assert.match(text, /servers\.b\.auth: client_secret or private_key is missing/);
    assert.match(text, /servers\.c\.auth: private_key is for client_credentials only/);
    assert.match(text, /servers\.d\.auth: has both client_secret and private_key/);
    assert.match(text, /servers\.e: has both auth and the header Authorization/);
    assert.match(text, /servers\.f\.auth: client_id is missing/);
    assert.doesNotMatch(text, /s3cret/);
  });

  it("leaves a server out whose tools no profile could name", async () => {
    const loaded = await loadedFrom(withServers({ "my.files": { enabled: true, command: "x" } }));
    assert.equal(loaded.config.tools.mcp, undefined);
    assert.match(warningText(loaded), /my\.files: is not used: a name has/);
  });

  it("hands BUN_OPTIONS to no server", async () => {
    const env = { BUN_OPTIONS: "x", OTHER: "y" };
    const loaded = await loadedFrom(withServers({ a: { enabled: true, command: "x", env } }));
    assert.deepEqual(Object.keys(loaded.config.tools.mcp?.servers[0]?.env ?? {}), ["OTHER"]);
    assert.match(warningText(loaded), /BUN_OPTIONS.*has no effect/);
  });

  it("takes secrets from files, follows none of a server that is off, and redacts all but ordinary values", async () => {
    const servers = {
      a: {
        enabled: true,
        command: "x",
        env: {
          API_TOKEN: "file://token",
          FOO: "of-no-name",
          LEVEL: "debug",
          HOME: "/home/pi",
          DB: "postgres://u:pass-word@h/d",
        },
      },
      b: {
        enabled: true,
        url: "https://h.test/?api_key=in-the-url",
        headers: { "X-Auth": "Bearer of-header", "X-Id": "of-another", Accept: "text/html" },
      },
      c: { command: "x", env: { API_TOKEN: "file://missing" } },
    };
    await inHome({ "config.json": withServers(servers), token: "of-the-file\n" }, async (home) => {
      const loaded = await home.load();
      assert.ok(!(loaded instanceof Failure), loaded instanceof Failure ? allTextOf(loaded) : "");
      const [a] = loaded.config.tools.mcp?.servers ?? [];
      assert.equal(a?.env["API_TOKEN"]?.reveal(), "of-the-file");
      const found = maskedIn(loaded.config);
      for (const secret of [
        "of-the-file",
        "pass-word",
        "in-the-url",
        "Bearer of-header",
        "of-header",
        "of-no-name",
        "of-another",
      ]) {
        assert.ok(found.includes(secret), secret);
      }
      assert.ok(!secretsIn(loaded.config).includes("of-no-name"));
      for (const plain of ["debug", "/home/pi", "text/html"]) assert.ok(!found.includes(plain));
      assert.ok(loaded.secretFiles.some((file) => file.endsWith("/token")));
    });
  });
});

describe("tools of MCP servers in profiles", () => {
  it("are server.tool and server.*, of servers that the file has", async () => {
    const profiles = { kitchen: { tools: ["files.read_file", "off.*", "files", "nope.x"] } };
    const servers = { files: { enabled: true, command: "x" }, off: { enabled: false } };
    const tools = { mcp: { enabled: true, servers }, profiles };
    const warnings = warningText(await loadedFrom({ version: 3, tools }));
    assert.doesNotMatch(warnings, /files\.read_file|off\.\*/);
    assert.match(warnings, /"files" is not a tool/);
    assert.match(warnings, /"nope\.x" allows nothing: tools\.mcp\.servers has no "nope"/);
  });
});
