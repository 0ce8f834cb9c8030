import { Failure } from "../base/failure.ts";
import { isDeviceClient } from "../mqtt/protocol/topics.ts";

/**
 * A client id that is safe as one level of a topic and as a word in a shell, or a usage `Failure`.
 * Narrower than what the gateway accepts, which is any topic level.
 */
export function checkedClientId(word: string): string {
  if (isDeviceClient(word)) return word;
  throw new Failure("usage", `"${word}" is not a client id`, {
    why: "1 to 128 characters out of A-Z a-z 0-9 _ . : @ - are allowed, and not . or .. alone",
  });
}
