import type { Context } from "../context.ts";

/** `picoclaw completion bash|zsh|fish`. */
export async function run({ host, words }: Context): Promise<number> {
  await host.stdout.write(await scriptFor(words[0]));
  return 0;
}

async function scriptFor(shell: string | undefined): Promise<string> {
  if (shell === "zsh") return (await import("../completion/zsh.ts")).zshCompletion();
  if (shell === "fish") return (await import("../completion/fish.ts")).fishCompletion();
  return (await import("../completion/bash.ts")).bashCompletion();
}
