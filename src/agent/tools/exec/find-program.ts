import { access, constants } from "node:fs/promises";
import { isAbsolute, join } from "node:path";

/** The absolute path of a program along a PATH; undefined where it is in none of its folders. */
export async function findProgram(path: string, name: string): Promise<string | undefined> {
  for (const folder of path.split(":").filter((one) => isAbsolute(one))) {
    const program = join(folder, name);
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return program;
  }
  return undefined;
}
