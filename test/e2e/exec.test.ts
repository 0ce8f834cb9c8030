import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { it } from "node:test";
import { frameOf } from "../support/frames.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { picoclaw, startPicoclaw, writeConfig } from "../support/picoclaw.ts";
import { running } from "../support/processes.ts";
import { withBubblewrap } from "../support/sandbox.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const exec = (input: object) => calls({ name: "exec", arguments: JSON.stringify(input) });

/** The results of the tool calls that the model got, in their order. */
function resultsFor(model: ModelServer): readonly string[] {
  const { messages = [] } = model.requests.at(-1)?.body ?? {};
  return messages.filter(({ role }) => role === "tool").map(({ content }) => frameOf(content).text);
}

async function writeHome(home: string, model: ModelServer, settings: object): Promise<void> {
  await writeConfig(home, {
    version: 3,
    agents: { defaults: { model_name: "m" } },
    model_list: [
      {
        model_name: "m",
        model: "openai/m",
        api_base: model.base,
        api_keys: ["sk-key-of-the-test"],
      },
    ],
    tools: { exec: settings },
  });
}

it(
  "a command is checked, and does not see the home of the program that runs it",
  await withBubblewrap(),
  async () => {
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    await writeHome(home.path, model, { sandbox: "bwrap" });
    await mkdir(join(home.path, "workspace"));
    // The policy does not see what a script does.
    await writeFile(
      join(home.path, "workspace", "probe.sh"),
      "ls -A ..; cat ../config.json; env\n",
    );
    model.script(
      exec({ command: "r''m -rf memory" }),
      exec({ command: "echo $(date +%Y) > year; cat year" }),
      exec({ command: "sh probe.sh" }),
      answers("done"),
    );
    const { code, stderr } = await picoclaw(["agent", "-m", "do it"], { home: home.path });
    assert.equal(code, 0, stderr);
    const [refused = "", year = "", seen = ""] = resultsFor(model);
    assert.match(refused, /dangerous pattern detected\): recursive or forced deletion/);
    assert.match(year, /^20\d\d\n\[exit code 0\]/);
    assert.match(seen, /^workspace\n[^]*COMMAND_ID=/);
    assert.doesNotMatch(seen, /sk-key|PICOCLAW|model_list/);
  },
);

it(
  "a command in the background does not outlive the program, not even one that is killed",
  await withBubblewrap(),
  async () => {
    await using model = await startModelServer();
    await using home = await temporaryFolder();
    await writeHome(home.path, model, { sandbox: "bwrap", enable_deny_patterns: false });
    const seconds = `600.${process.pid}`;
    const command = `(env -i setsid sleep ${seconds} &); sleep ${seconds}; true`;
    model.script(exec({ command, background: true }), exec({ command: "sleep 60" }));
    await using gateway = startPicoclaw(["agent", "-m", "do it"], { home: home.path });
    await until("both sleep", async () => (await running(`sleep ${seconds}`)) === 2);
    gateway.kill("SIGKILL");
    await until("none does", async () => (await running(`sleep ${seconds}`)) === 0);
  },
);
