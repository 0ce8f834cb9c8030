import { FileFault } from "../files/errors.ts";
import { realWorkspace } from "../files/locate.ts";
import type { ExecInput } from "./input.ts";
import { keysOf } from "./keys.ts";
import { assertAllowed } from "./prepare.ts";
import type { Rules } from "./prepare.ts";
import type { Session } from "./sessions.ts";
import { endingText, sessionText, unreadText } from "./words.ts";

export type Steering = "poll" | "read" | "write" | "kill" | "send-keys";

/** Characters of a line written in pieces that are looked at together. */
const MAX_LINE = 10_000;

/** Does something with a command in the background. */
export async function steer(
  session: Session,
  input: ExecInput & { readonly action: Steering },
  rules: Rules,
  now: number,
): Promise<string> {
  switch (input.action) {
    case "poll":
      return sessionText(session, now);
    case "read":
      return unreadText(session);
    case "write":
      return await write(session, input.data ?? "", rules);
    case "send-keys":
      return await write(session, keysText(input.keys ?? ""), rules);
    case "kill":
      return await kill(session);
    default:
      return input.action satisfies never;
  }
}

async function kill({ id, running }: Session): Promise<string> {
  await running.stop();
  return `${id} is done ${endingText(await running.ended)}`;
}

function keysText(names: string): string {
  const { text, unknown } = keysOf(names);
  if (unknown.length > 0) {
    const words = unknown.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 40)));
    throw new FileFault(
      `there is no key ${words.join(", ")}; keys are Enter, Tab, Escape, Space, Backspace, Up, Down, Left, Right, Home, End, PageUp, PageDown, Insert, Delete, F1 to F4, C-a to C-z; use write for text`,
    );
  }
  return text;
}

async function write(session: Session, text: string, rules: Rules): Promise<string> {
  if (text === "") throw new FileFault("there is nothing to write");
  if (session.ended !== undefined) throw new FileFault(`${session.id} has ended already`);
  const line = session.line + text;
  const workspace = await realWorkspace(rules.workspace);
  await assertAllowed(line, { ...rules, workspace, cwd: session.cwd, isInput: true });
  session.line = line.slice(Math.max(line.lastIndexOf("\n"), line.lastIndexOf("\r")) + 1);
  session.line = session.line.slice(-MAX_LINE);
  if (!(await session.running.write(text))) throw new FileFault(`${session.id} reads no input`);
  return `wrote ${text.length} characters to ${session.id}; read shows what it answers`;
}
