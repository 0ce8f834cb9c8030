import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { answers, refuses, startModelServer } from "../support/model-server.ts";
import type { Behaviour } from "../support/model-server.ts";
import { picoclaw, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

const REFUSED = {
  error: {
    message: "Unsupported parameter: 'max_tokens' is not supported with this model.",
    param: "max_tokens",
    code: "unsupported_parameter",
  },
};

/** A model that refuses a limit of output tokens. */
const refusesLimit: Behaviour = async (request, response) => {
  const isRefused = "max_tokens" in request.body;
  await (isRefused ? refuses(400, REFUSED) : answers("Hello."))(request, response);
};

describe("what a refusal teaches", () => {
  it("is known to the next process, until the entry changes", async () => {
    await using server = await startModelServer();
    await using home = await temporaryFolder();
    server.otherwise(refusesLimit);
    const workspace = join(home.path, "workspace");
    const defaults = { model_name: "m", workspace, max_tokens: 900 };
    const entry = { model_name: "m", model: "openai/m", api_base: server.base };
    const configure = (more: object) =>
      writeConfig(home.path, { agents: { defaults }, model_list: [{ ...entry, ...more }] });
    const say = async (): Promise<number> => {
      const before = server.requests.length;
      const { stdout, stderr } = await picoclaw(["agent", "-m", "Hello"], { home: home.path });
      assert.equal(stdout, "Hello.\n", stderr);
      return server.requests.length - before;
    };

    await configure({});
    assert.equal(await say(), 2, "the first process is refused once");
    assert.equal(await say(), 1, "the second one knows it");
    const file = await readFile(join(workspace, "state", "models.json"), "utf8");
    assert.ok(!file.includes(server.base), "a base may hold secrets");

    await configure({ user_agent: "other" });
    assert.equal(await say(), 2, "a changed entry learns anew");
  });
});
