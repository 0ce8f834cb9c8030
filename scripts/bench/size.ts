import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { temporaryFolder } from "../../test/support/temporary.ts";
import type { Figure } from "./figure.ts";

const root = join(import.meta.dirname, "../..");
const MB = 2 ** 20;

/** The binary beside one that `bun build --compile` makes of an empty program. */
export async function* sizeFigures(): AsyncGenerator<Figure> {
  await using scratch = await temporaryFolder();
  const [source, empty] = [join(scratch.path, "empty.ts"), join(scratch.path, "empty")];
  writeFileSync(source, "");
  const flags = ["build", source, "--compile", "--minify", "--bytecode", `--outfile=${empty}`];
  const { status } = spawnSync(process.execPath, flags, { stdio: "ignore", cwd: scratch.path });
  if (status !== 0) throw new Error("bun build failed");
  const binary = join(root, "dist/picoclaw");
  const reference = (bytes: number): Figure["reference"] => ({
    name: "an empty program",
    values: [bytes / MB],
  });
  const [ours, theirs] = [statSync(binary).size, statSync(empty).size];
  yield { name: "binary", unit: "MB", ours: [ours / MB], reference: reference(theirs) };
  yield {
    name: "binary, compressed with zstd",
    unit: "MB",
    ours: [compressed(binary) / MB],
    reference: reference(compressed(empty)),
  };
}

function compressed(file: string): number {
  const params = { [constants.ZSTD_c_compressionLevel]: 19 };
  return zstdCompressSync(readFileSync(file), { params }).length;
}
