import { ModelFault } from "../fault.ts";
import { messageIn } from "./answer.ts";

/** Bytes of an error's body that are read. */
const MAX_BODY = 64 * 1024;

/** What Ollama, vLLM and OpenRouter say of a model that cannot call tools. */
const TOOLLESS =
  /not support (the )?(tool|function)|support tool use|tool choice requires|enable-auto-tool-choice/i;

/** Any answer but 200, as the fault that it tells of. Reads the body within its bound. */
export async function refusalOf(response: Response): Promise<ModelFault> {
  const { status } = response;
  if (status >= 300 && status < 400) {
    await response.body?.cancel();
    return new ModelFault("garbled", `the server redirects (HTTP ${status})`, { status });
  }
  const words = await bodyOf(response);
  const message = messageOf(words);
  const retryAfter = retryAfterOf(response.headers);
  const isToolless = status < 500 && TOOLLESS.test(message);
  return new ModelFault(isToolless ? "toolless" : "refused", `HTTP ${status}: ${message}`, {
    status,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}

async function bodyOf(response: Response): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let [words, bytes] = ["", 0];
  try {
    for await (const piece of response.body) {
      bytes += piece.byteLength;
      words += decoder.decode(piece.subarray(0, MAX_BODY), { stream: true });
      if (bytes >= MAX_BODY) break;
    }
  } catch {
    // The status says enough; a body that breaks off only says less about why.
  }
  return words.trim();
}

function messageOf(words: string): string {
  if (words === "") return "no details";
  if (words.startsWith("<")) return "an HTML page";
  try {
    return messageIn(JSON.parse(words));
  } catch {
    return words;
  }
}

/** Seconds (RFC 9110, 10.2.3: a number or a date), or the milliseconds some providers send beside it. */
function retryAfterOf(headers: Headers): number | undefined {
  const milliseconds = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds / 1000;
  const written = headers.get("retry-after")?.trim() ?? "";
  if (written === "") return undefined;
  const seconds = Number(written);
  const wait = Number.isNaN(seconds) ? (Date.parse(written) - Date.now()) / 1000 : seconds;
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}
