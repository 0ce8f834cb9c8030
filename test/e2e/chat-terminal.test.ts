import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { answers, hangs, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  commandLine,
  modelConfig,
  onceInCi,
  startGateway,
  startShell,
  temporaryHome,
} from "../support/picoclaw.ts";

const needs = { skip: needsMosquitto.skip || onceInCi.skip };
const TEXT = "The quick brown fox jumps over the lazy dog, and the kitchen has 21 degrees";
/** The spinner of a model with this name, and what erases it. */
const SPINNER = /[⠋-⠿] (?:assistant · )?m · \d s/u;
const ERASED = /\d s(?:\^C|\^Z)?\r\p{Cc}\[K/u;

describe("a terminal of 40 columns", needs, () => {
  it("shows that send waits, breaks its text between words, and Ctrl-C stops the turn", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using gateway = await startGateway({ home: home.path });
    await using shell = startShell(40, { home: home.path, env: { TERM: "xterm" } });
    model.script(answers(TEXT), hangs());
    shell.type(`${commandLine(["send", "kitchen", "how warm"])}\n`);
    await shell.said("jumps over the lazy\r\ndog, and the kitchen has 21 degrees\r\n");
    shell.type(`${commandLine(["send", "kitchen", "wait"])}\n`);
    await model.received(1);
    await shell.said(SPINNER);
    shell.type("\u0003");
    await shell.said("note: the answer was stopped (/stop)");
    await gateway.said('"outcome":"cancelled"');
    shell.type("echo code $?\n");
    await shell.said("code 130");
    assert.match(shell.stdout(), ERASED);
  });

  it("holds a chat that survives Ctrl-C and Ctrl-Z, and remembers what was typed", async () => {
    await using model = await startModelServer();
    await using home = await temporaryHome(modelConfig("tcp://127.0.0.1:9", model.base));
    await using shell = startShell(40, { home: home.path, env: { TERM: "xterm" } });
    model.script(hangs(), answers(TEXT), answers("whole"));
    shell.type(`${commandLine(["agent"])}\n`);
    await shell.said(/· m · cli:default[^]*\/help lists/);
    shell.type("first\r");
    await model.received(0);
    await shell.said(SPINNER);
    shell.type("\u0003");
    await shell.said("note: the answer was stopped\r\n");
    shell.type("half");
    await shell.said("half");
    shell.type("\u001a");
    await shell.said("Stopped");
    shell.type("fg\n");
    await shell.said(/fg\r\n[^]*half/);
    shell.type(" a line\r");
    await shell.said("jumps over the lazy\r\ndog, and the");
    assert.match(
      (await model.received(1)).body.messages?.at(-1)?.content?.toString() ?? "",
      /half a line/,
    );
    shell.type("exit\r");
    await shell.said(/exit\s[^]*\$ $/);
    const history = join(home.path, "workspace", "state", "input-history");
    assert.equal(await readFile(history, "utf8"), "first\nhalf a line\nexit\n");
    assert.equal((await stat(history)).mode & 0o777, 0o600);
    shell.type(`clear; ${commandLine(["agent"])}\n`);
    await shell.said(/clear[^]*\/help lists/);
    shell.type("\u001b[A\u001b[A\r");
    await shell.said("whole\r\n");
    shell.type("\u0004");
    await shell.said(/whole\r\n[^]*\$ $/);
  });
});
