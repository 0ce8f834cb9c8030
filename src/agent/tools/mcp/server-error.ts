import {
  ProtocolError,
  ProtocolErrorCode,
  SdkError,
  SdkErrorCode,
} from "@modelcontextprotocol/client";
import { escapeControl } from "../../../base/escape-control.ts";
import { messageOf } from "../../../base/failure.ts";
import { networkMessage } from "../../../base/network-error.ts";
import { truncate } from "../../../base/truncate.ts";
import { at } from "../../../base/unknown.ts";

/** Characters of a server's words in an error. */
const MAX_WORDS = 300;

/** A server did not do what it was asked. The message is one line for the log and the model. */
export class ServerError extends Error {
  override readonly name = "ServerError";
  /**
   * `answer`: it answered with an error; `late`: it did not answer in time; `lost`: the connection is of no more use;
   * `token`: there is no token for it; `login`: there is none until a person logs in. Nothing was run without a token.
   */
  readonly kind: "answer" | "late" | "lost" | "token" | "login";
  /** The server no longer knows the session, so the request was not run. */
  readonly isForgotten: boolean;

  constructor(kind: ServerError["kind"], message: string, isForgotten = false) {
    super(message);
    this.kind = kind;
    this.isForgotten = isForgotten;
  }
}

const NEEDS_INPUT = "it asks for input from a person, or for a model's, which it cannot get here";

const NEEDS: ReadonlySet<number> = new Set([
  ProtocolErrorCode.MissingRequiredClientCapability,
  ProtocolErrorCode.UrlElicitationRequired,
]);

/** The error of a request as a `ServerError`. */
export function serverError(thrown: unknown, whyLost: string): ServerError {
  if (thrown instanceof ServerError) return thrown;
  if (whyLost !== "") return new ServerError("lost", whyLost);
  if (thrown instanceof ProtocolError) {
    if (NEEDS.has(thrown.code)) return new ServerError("answer", NEEDS_INPUT);
    return new ServerError("answer", `it answered with an error: ${shown(thrown.message)}`);
  }
  const status = at(at(thrown, "data"), "status");
  if (typeof status === "number") return httpError(status);
  if (thrown instanceof SdkError) {
    if (thrown.code === SdkErrorCode.UnsupportedResultType) {
      return new ServerError("answer", NEEDS_INPUT);
    }
    if (thrown.code === SdkErrorCode.InvalidResult) {
      return new ServerError("answer", "its answer is not what the protocol allows");
    }
    if (thrown.code === SdkErrorCode.RequestTimeout) {
      return new ServerError("late", "it did not answer in time");
    }
  }
  const words = thrown instanceof Error ? networkMessage(thrown) : messageOf(thrown);
  return new ServerError("lost", shown(words));
}

function httpError(status: number): ServerError {
  const words = WORDS[status] ?? `it answered with the status ${status}`;
  return new ServerError("lost", words, status === 404);
}

const WORDS: Readonly<Record<number, string>> = {
  401: "it wants other credentials (status 401): set its headers or auth",
  403: "it does not allow this (status 403)",
  404: "there is nothing at its url (status 404)",
};

/** Words of a server for one line of the log. */
export function shown(text: string): string {
  return escapeControl(truncate(text, MAX_WORDS));
}
