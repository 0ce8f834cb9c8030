import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { it } from "node:test";
import { promisify } from "node:util";
import { userName } from "../../src/cli/service/user-name.ts";

const known = process.platform === "linux" && process.getuid !== undefined;

it("a user has the name of its id, whatever USER says", { skip: !known }, async () => {
  const { stdout } = await promisify(execFile)("id", ["-un"]);
  const before = process.env["USER"];
  try {
    for (const user of ["somebody", undefined]) {
      if (user === undefined) delete process.env["USER"];
      else process.env["USER"] = user;
      assert.equal(userName(), stdout.trim());
    }
  } finally {
    if (before === undefined) delete process.env["USER"];
    else process.env["USER"] = before;
  }
});
