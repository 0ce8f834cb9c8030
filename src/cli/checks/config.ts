import type { Diagnosis } from "../../base/contract.ts";
import type { Failure } from "../../base/failure.ts";
import type { LoadedConfig } from "../../config/contract.ts";
import { nothingToServe } from "../connection.ts";

const CONFIG = { code: "config", name: "configuration" } as const;

/** What is wrong with a configuration that cannot be used: one line for each value. */
export function unreadConfig(failure: Failure): readonly Diagnosis[] {
  const lines = (failure.why ?? "").split("\n").filter((line) => line.trim() !== "");
  const texts = lines.length > 1 ? lines : [[failure.message, ...lines].join(": ")];
  return [
    ...texts.map((text) => failedWith(failure, text)),
    {
      code: "gateway",
      name: "everything else",
      result: "skip",
      message: "the configuration cannot be used",
    },
  ];
}

/** What a configuration leaves open. */
export function configChecks(loaded: LoadedConfig): readonly Diagnosis[] {
  const { config, file, found, warnings, refusal } = loaded;
  const { channels } = config;
  const faults = [refusal, channels.length === 0 ? nothingToServe(loaded) : undefined];
  const failed = faults.flatMap((failure): readonly Diagnosis[] => {
    if (failure === undefined) return [];
    const { message, why } = failure;
    const text = why === undefined ? message : `${message}: ${why.replaceAll("\n", "; ")}`;
    return [failedWith(failure, text)];
  });
  const warned = warnings.map(({ message, remedy }) =>
    withRemedy({ ...CONFIG, result: "warn", message }, remedy),
  );
  if (failed.length > 0) return [...failed, ...warned];
  const names = channels.map(({ name }) => name).join(", ");
  const from = found ? file : `there is no ${file}; defaults and the environment`;
  return [{ ...CONFIG, result: "ok", message: `${from}: channels ${names}` }, ...warned];
}

function failedWith(failure: Failure, message: string): Diagnosis {
  return withRemedy({ ...CONFIG, result: "fail", message, failure }, failure.remedy);
}

function withRemedy(found: Diagnosis, remedy: string | undefined): Diagnosis {
  return remedy === undefined ? found : { ...found, remedy };
}
