import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isAmbiguous, isListed, modelName } from "../../../../src/agent/tools/mcp/names.ts";

describe("the name of a server's tool", () => {
  it("is that of Go PicoClaw", () => {
    assert.equal(modelName("files", "read_file"), "mcp_files_read_file");
    assert.equal(modelName("GitHub", "Create-Issue"), "mcp_github_create-issue");
    // The hash is FNV-1a of both names with a zero between them.
    assert.equal(modelName("a b", "c.d"), `mcp_a_b_c_d_${fnv("a b\0c.d")}`);
    const long = modelName("server", "x".repeat(100));
    assert.equal(long.length, 64);
    assert.match(long, /^mcp_server_x{44}_[\da-f]{8}$/);
  });

  it("is never that of another tool, whatever the servers are called", () => {
    const servers = ["a", "a_b", "A", "c"];
    const names = new Set<string>();
    const tools = ["b_c", "c", "b c", "b.c", "b/c"];
    for (const server of servers) {
      for (const tool of tools) names.add(modelName(server, tool, isAmbiguous(server, servers)));
    }
    assert.equal(names.size, servers.length * tools.length);
    assert.equal(isAmbiguous("a", ["a", "ab"]), false);
  });

  it("is in a list by itself, with its server, or as models know it", () => {
    const tool = "files.read_file";
    for (const name of [tool, "files.*", "mcp_files_read_file"]) {
      assert.ok(isListed(new Set([name]), tool), name);
    }
    for (const name of ["files", "file.*", "*.read_file", "files.read", "read_file", "mcp_files"]) {
      assert.ok(!isListed(new Set([name]), tool), name);
    }
    assert.ok(!isListed(new Set([".*"]), ".x"));
  });
});

/** FNV-1a as its authors define it, in numbers without a bound. */
function fnv(text: string): string {
  let hash = 0x81_1c_9d_c5n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 0x01_00_01_93n) % 2n ** 32n;
  }
  return hash.toString(16).padStart(8, "0");
}
