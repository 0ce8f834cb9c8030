import * as v from "valibot";

/** Characters of a command, and of a piece of input: the guard looks at all of it. */
const MAX_TEXT = 10_000;

const text = (about: string) =>
  v.nullish(v.pipe(v.string(), v.maxLength(MAX_TEXT, "too long"), v.description(about)));
const flag = (about: string) => v.nullish(v.pipe(v.boolean(), v.description(about)));

/** The arguments of exec. */
export const EXEC_INPUT = v.object({
  action: v.nullish(
    v.pipe(
      v.picklist(["run", "list", "poll", "read", "write", "kill", "send-keys"]),
      v.description(
        "run (where left out): runs command. The others are about commands in the background: list them; poll: how one is; read: what it wrote since it was last read; write: data to its input; send-keys: keys to its input; kill it.",
      ),
    ),
  ),
  command: text("For run: the shell command."),
  sessionId: text("For poll, read, write, send-keys and kill: which command."),
  keys: text("For send-keys: names with blanks between, such as Up Enter C-c Tab Escape F1."),
  data: text("For write: the text as it is; end it with a line break to send the line."),
  background: flag("For run: whether to give back a sessionId at once, and let it run on."),
  pty: flag("For run: whether the command gets a terminal."),
  cwd: text("For run: the folder to run in; the workspace where left out."),
  timeout: v.nullish(
    v.pipe(v.number(), v.minValue(0), v.description("For run: the most seconds it may take.")),
  ),
});

export type ExecInput = v.InferOutput<typeof EXEC_INPUT>;
