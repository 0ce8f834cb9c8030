import { findProgram } from "./find-program.ts";

/** What runs commands. The guard reads them as bash does; of what `sh` reads otherwise it lets nothing pass. */
export interface Shell {
  readonly kind: "bash" | "sh";
  /** Absolute path. */
  readonly program: string;
}

/** bash along PATH, or the system's `sh` where there is none. */
export async function shellOf(env: Readonly<Record<string, string>>): Promise<Shell> {
  const program = await findProgram(env["PATH"] ?? "", "bash");
  return program === undefined ? { kind: "sh", program: "/bin/sh" } : { kind: "bash", program };
}

/** The words before a command. A start-up file would be read where the input is a socket (bash(1)). */
export function shellWords({ kind, program }: Shell): readonly string[] {
  return kind === "bash" ? [program, "--norc", "-c"] : [program, "-c"];
}
