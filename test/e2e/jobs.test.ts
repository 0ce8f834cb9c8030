import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { frameOf } from "../support/frames.ts";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import type { Behaviour } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  picoclaw,
  startClient,
  startGateway,
  writeConfig,
} from "../support/picoclaw.ts";
import { withBubblewrap } from "../support/sandbox.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

/** Calls the tool that a question names, with its arguments, and answers a job's task. */
const agent: Behaviour = async (request, response) => {
  const last = request.body.messages.at(-1);
  const text = last?.content ?? "";
  const [, task] = /Its task:\n([\s\S]+)$/.exec(text) ?? [];
  const [, name = "", input = ""] = /^call (\w+) (.*)$/m.exec(text) ?? [];
  if (last?.role === "tool") await answers(`tool: ${frameOf(text).text}`)(request, response);
  else if (task !== undefined)
    await answers(task === "quiet" ? "NOTHING" : `now: ${task}`)(request, response);
  else if (name !== "") await calls({ name, arguments: input })(request, response);
  else await answers(`said: ${text}`)(request, response);
};

interface HomeOptions {
  readonly profiles?: object;
  readonly exec?: object;
  readonly files?: Readonly<Record<string, string>>;
}

async function openHome({
  profiles = { "*": { tools: ["cron"] } },
  exec,
  files = {},
}: HomeOptions = {}) {
  await using closing = new AsyncDisposableStack();
  const model = closing.use(await startModelServer());
  const broker = closing.use(await startMosquitto());
  const home = closing.use(await temporaryFolder());
  model.otherwise(agent);
  const tools = { profiles, ...(exec && { exec }) };
  await writeConfig(home.path, { ...modelConfig(broker.url, model.base), tools });
  for (const [name, text] of Object.entries(files)) {
    const folder = join(home.path, "workspace", name, "..");
    await mkdir(folder, { recursive: true });
    await writeFile(join(home.path, "workspace", name), text);
  }
  const owned = closing.move();
  return {
    home: home.path,
    model,
    broker,
    gateway: () => startGateway({ home: home.path }),
    /** What mosquitto_sub hears as a client. */
    hears(client: string) {
      const words = ["-p", `${broker.port}`, "-i", client, "-q", "1", "-c", "-V", "5", "-x", "60"];
      const topic = `/picoclaw/assistant/${client}/response`;
      const heard = startClient("mosquitto_sub", [...words, "-t", topic]);
      return Object.assign(heard, {
        messages: () =>
          heard
            .stdout()
            .split("\n")
            .filter((line) => line !== "")
            .map((line): { id?: string; push?: boolean; text?: string } => JSON.parse(line)),
      });
    },
    run: (...args: readonly string[]) => picoclaw(args, { home: home.path }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const sandboxed = await withBubblewrap();

describe("jobs of a gateway", needsMosquitto, () => {
  it("reach their client when they are due, and are seen and removed by it and by the owner", async () => {
    await using home = await openHome();
    await using _gateway = await home.gateway();
    await using kitchen = home.hears("kitchen");
    const add = (facts: object) =>
      home.run("send", "kitchen", `call cron ${JSON.stringify({ action: "add", ...facts })}`);
    const added = await add({ message: "take the bread out", at_seconds: 1 });
    assert.match(added.stdout, /^tool: Added\. take the bread out/, added.stderr);
    await until("the job is heard", () => kitchen.messages().some(({ push }) => push === true));
    const message = kitchen.messages().find(({ push }) => push === true);
    assert.equal(message?.text, "now: take the bread out");
    assert.match(message?.id ?? "", /^job-[0-9a-f]{8}-\d{13}$/);
    assert.equal((await home.run("jobs", "list")).stdout, "");

    await add({ message: "water the plants", every_seconds: 3600 });
    await add({ message: "quiet", every_seconds: 3600 });
    const list = await home.run("jobs", "list", "--json");
    const [plants, quiet] = list.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.match((await home.run("status")).stdout, /jobs +2, next at \d{4}-\d\d-\d\d \d\d:\d\d/);
    assert.match(
      (await home.run("send", "kitchen", "/jobs")).stdout,
      /water the plants[\s\S]*quiet/,
    );
    assert.equal((await home.run("send", "hall", "/jobs")).stdout.trim(), "You have no jobs.");
    const refused = await home.run("send", "hall", `/jobs remove ${plants.id}`);
    assert.match(refused.stdout, /not removed: there is no job/);

    // What there is nothing to say of sends nothing.
    await home.run("jobs", "run", quiet.id);
    await home.run("jobs", "run", plants.id);
    await until("the job is heard", () =>
      kitchen.messages().some(({ text }) => text === "now: water the plants"),
    );
    const asked = () =>
      home.model.requests.filter(({ body }) => body.messages.at(-1)?.content?.endsWith("quiet"));
    await until("the quiet one was asked", () => asked().length > 0);
    assert.equal(kitchen.messages().filter(({ push }) => push === true).length, 2);
    await home.run("jobs", "remove", quiet.id);
    await home.run("send", "kitchen", `/jobs remove ${plants.id}`);
    assert.equal((await home.run("jobs", "list")).stdout, "");
  });

  it("wait for their client, and for the gateway, and come once", async () => {
    await using home = await openHome();
    // mosquitto keeps its session.
    await (async () => {
      await using kitchen = home.hears("kitchen");
      await until("it is subscribed", () =>
        /picoclaw\/assistant\/kitchen\/response/.test(home.broker.log()),
      );
      assert.deepEqual(kitchen.messages(), []);
    })();
    await (async () => {
      await using _gateway = await home.gateway();
      await home.run(
        "send",
        "kitchen",
        'call cron {"action":"add","message":"once","at_seconds":2}',
      );
    })();
    const { stdout } = await home.run("jobs", "list", "--json");
    const due = Date.parse(JSON.parse(stdout).next_at);
    await until("it is due", () => Date.now() > due);
    await using _gateway = await home.gateway();
    await using kitchen = home.hears("kitchen");
    const pushed = () => kitchen.messages().filter(({ push }) => push === true);
    await until("the job is heard", () => pushed().length > 0);
    assert.equal(pushed()[0]?.text, "now: once");
  });

  it(
    "run commands for a client that may, in its sandbox and under the policy",
    sandboxed,
    async () => {
      await using home = await openHome({
        profiles: { runner: { tools: ["cron", "exec"], write: ["."] } },
        exec: { sandbox: "bwrap" },
        // The policy does not see what a script does.
        files: { "probe.sh": "echo hello; ls -A ..\n" },
      });
      await using _gateway = await home.gateway();
      await using runner = home.hears("runner");
      const facts = { action: "add", every_seconds: 3600, command_confirm: true };
      for (const command of ["sh probe.sh", "true", "sudo id"]) {
        await home.run(
          "send",
          "runner",
          `call cron ${JSON.stringify({ ...facts, name: command, command })}`,
        );
      }
      const list = await home.run("jobs", "list");
      for (const line of list.stdout.trimEnd().split("\n"))
        await home.run("jobs", "run", line.split("\t")[0] ?? "");
      const pushed = () =>
        runner.messages().flatMap(({ push, text }) => (push === true ? [text ?? ""] : []));
      await until("both are heard", () => pushed().length === 2);
      const [hello, sudo] = pushed().toSorted((left, right) => (left < right ? -1 : 1));
      assert.equal(hello, "sh probe.sh\nhello\nworkspace\n[exit code 0]");
      assert.match(sudo ?? "", /^sudo id\nerror: .*blocked/);
    },
  );

  it("of a home of the Go program go on, with its heartbeat", async () => {
    const payload = {
      kind: "agent_turn",
      message: "old task",
      channel: "mqtt",
      to: "mqtt:kitchen",
    };
    const schedule = { kind: "every", everyMs: 3_600_000 };
    const job = {
      id: "abc",
      name: "old",
      enabled: true,
      schedule,
      payload,
      state: { nextRunAtMs: 1 },
    };
    await using home = await openHome({
      files: {
        "cron/jobs.json": JSON.stringify({ version: 1, jobs: [job] }),
        "state/state.json": JSON.stringify({ last_channel: "mqtt:mqtt:kitchen" }),
        "HEARTBEAT.md": "- Look at the door",
      },
    });
    await using kitchen = home.hears("kitchen");
    await using _gateway = await home.gateway();
    const texts = () => kitchen.messages().map(({ text = "" }) => text);
    await until("both are heard", () => texts().length >= 2);
    assert.ok(texts().includes("now: old task"), texts().join("; "));
    assert.ok(texts().some((text) => /^said: [\s\S]*Look at the door/.test(text)));
    const list = (await home.run("jobs", "list")).stdout;
    assert.match(
      list,
      /^heartbeat\tkitchen\tmqtt\t\S+\tevery 1800 s\theartbeat\nabc\tkitchen\tmqtt\t\S+\tevery 3600 s\told\n$/,
    );
  });
});
