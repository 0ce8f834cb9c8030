import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { commandIn, isStopCommand } from "../../src/base/command.ts";

describe("a chat command", () => {
  it("is a word after / or !, in any case and with blanks around, and what follows", () => {
    assert.deepEqual(commandIn("/help"), { name: "help", words: "" });
    assert.deepEqual(commandIn(" !Use cats\n and dogs "), {
      name: "use",
      words: "cats\n and dogs",
    });
    for (const text of ["", "help", "/", "/ help", "say /help", "/etc/passwd", "/help-me", "/7"]) {
      assert.equal(commandIn(text), undefined, text);
    }
  });

  it("stops only without further words", () => {
    for (const text of ["/stop", "!STOP", "\t/Stop\n"])
      assert.equal(isStopCommand(text), true, text);
    for (const text of ["stop", "/stop it", "/stopp", "//stop"]) {
      assert.equal(isStopCommand(text), false, text);
    }
  });
});
