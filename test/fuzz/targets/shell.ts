import assert from "node:assert/strict";
import { checkCommand } from "../../../src/agent/tools/exec/policy/policy.ts";
import { toolSettings } from "../../support/agent-config.ts";
import { textOf } from "../target.ts";
import type { Target } from "../target.ts";

const POLICY = { settings: toolSettings().exec, workspace: "/w/space", cwd: "/w/space/sub" };

/** Ways to write the same command that a shell sees no difference in. */
const DISGUISES: readonly ((command: string) => string)[] = [
  (command) => `${command}\n`,
  (command) => ` ${command}`,
  (command) => `true; ${command}`,
  (command) => `(${command})`,
];

/** Without the words of the command that it repeats. */
function plainKind(blocked: string): string {
  return `${blocked.slice(33, 44)} ${/[a-z ]{0,24}$/.exec(blocked)?.[0]}`;
}

async function run(input: Uint8Array): Promise<string> {
  const command = textOf(input);
  const outcomes: string[] = [];
  for (const restrict of [false, true]) {
    const blocked = await checkCommand(command, { ...POLICY, restrict });
    if (blocked !== undefined) {
      assert.match(blocked, /^Command blocked by safety guard \([a-z ]+\)(?:: .{1,2500})?$/u);
      assert.doesNotMatch(blocked, /[\p{Cc}\p{Zl}\p{Zp}]/u);
    }
    outcomes.push(blocked === undefined ? "runs" : plainKind(blocked));
  }
  // What is blocked for anyone is blocked for those who must stay in their folder, too.
  if (outcomes[0] !== "runs") assert.notEqual(outcomes[1], "runs");
  if (outcomes[0] !== "runs" && /^[\w /.-]+$/.test(command)) {
    for (const disguise of DISGUISES) {
      const blocked = await checkCommand(disguise(command), { ...POLICY, restrict: false });
      assert.notEqual(blocked, undefined, `it runs as ${JSON.stringify(disguise(command))}`);
    }
  }
  return `${outcomes.join("|")} ${new Set(command.match(/[|&;<>()$`"'\\{}\n]/g)).size}`;
}

export const COMMAND_POLICY: Target = {
  name: "policy",
  about: "the policy of exec has an answer to every command that exec takes, in time",
  material: {
    lines: true,
    // What exec takes at most.
    most: 10_000,
    words:
      "rm -rf / sudo $( ) ${ } ` ' \" \\ | || && ; & > >> < << <<< <( (( )) [[ ]] { } # ! if then fi for in do done while case esac ;; function () $'\\x72m' $IFS $@ $* $0 eval source . exec command env xargs bash -c sh ~ .. /etc/passwd /dev/null 2>&1 \\\n \t \r * ? [a-z] {a,b} =".split(
        " ",
      ),
  },
  async open() {
    return { run };
  },
};
