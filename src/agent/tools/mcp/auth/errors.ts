import {
  AuthorizationServerMismatchError,
  InsecureTokenEndpointError,
  IssuerMismatchError,
} from "@modelcontextprotocol/client";
import { messageOf } from "../../../../base/failure.ts";
import { networkMessage } from "../../../../base/network-error.ts";
import { ServerError, shown } from "../server-error.ts";

/** Why there is no token, as a `ServerError`. */
export function tokenError(thrown: unknown): ServerError {
  if (thrown instanceof ServerError) return thrown;
  if (thrown instanceof AuthorizationServerMismatchError) {
    return new ServerError(
      "token",
      "it names another authorization server than auth.issuer, or than before",
    );
  }
  if (thrown instanceof IssuerMismatchError) {
    return new ServerError("token", "its authorization server says that it is another one");
  }
  if (thrown instanceof InsecureTokenEndpointError) {
    return new ServerError("token", "its authorization server gives tokens without https");
  }
  const words = thrown instanceof Error ? networkMessage(thrown) : messageOf(thrown);
  return new ServerError("token", `there is no token for it: ${shown(words)}`);
}
