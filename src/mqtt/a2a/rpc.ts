import { prefixOf } from "../../base/truncate.ts";
import { at, fromJson, isObject, listAt, textAt } from "../../base/unknown.ts";
import { MAX_ID_LENGTH, utf8Of } from "../protocol/wire.ts";

/** The id of a JSON-RPC request; null if it cannot be read. */
export type RpcId = string | number | null;

/** A request of A2A over MQTT 0.1, whose methods are those of A2A 1.0. */
export type RpcRequest =
  | {
      readonly is: "send";
      readonly id: RpcId;
      /** The answer comes in pieces. */
      readonly stream: boolean;
      readonly taskId: string;
      /** Names the conversation; empty if the requester wants none. */
      readonly contextId: string;
      readonly text: string;
    }
  | { readonly is: "get" | "cancel"; readonly id: RpcId; readonly taskId: string };

export interface RpcError {
  readonly is: "error";
  readonly id: RpcId;
  readonly code: number;
  readonly message: string;
}

/** JSON-RPC 2.0 section 5.1, and A2A 1.0 section 9.5. */
const PARSE_ERROR = -32700;
export const INVALID_REQUEST = -32600;
const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;
export const TASK_NOT_FOUND = -32001;
export const TASK_NOT_CANCELABLE = -32002;

/** Errors of the binding, with their names in `error.data`. */
export const REQUEST_EXPIRED = -32003;
export const RESPONDER_UNAVAILABLE = -32004;
export const TRANSPORT_PROTOCOL_ERROR = -32005;
const BINDING_ERRORS: Readonly<Record<number, string>> = {
  [REQUEST_EXPIRED]: "request_expired",
  [RESPONDER_UNAVAILABLE]: "responder_unavailable",
  [TRANSPORT_PROTOCOL_ERROR]: "transport_protocol_error",
};

/** Each method, also as A2A 0.3 and the first SDK for MQTT name it. */
const METHODS: Readonly<Record<string, "send" | "stream" | "get" | "cancel">> = {
  SendMessage: "send",
  "message/send": "send",
  SendStreamingMessage: "stream",
  "message/stream": "stream",
  GetTask: "get",
  "tasks/get": "get",
  CancelTask: "cancel",
  "tasks/cancel": "cancel",
};

/** Reads a request, which anyone may have written. */
export function decodeRpc(payload: Uint8Array): RpcRequest | RpcError {
  let found: unknown;
  try {
    found = fromJson(utf8Of(payload) ?? "");
  } catch {
    return refused(null, PARSE_ERROR, "the payload is not JSON");
  }
  const id = idIn(found);
  if (!isObject(found) || at(found, "jsonrpc") !== "2.0" || id === null) {
    return refused(id, INVALID_REQUEST, "the payload is not a JSON-RPC 2.0 request with an id");
  }
  const method = textAt(found, "method");
  const is = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  const params = at(found, "params");
  if (is === undefined) return refused(id, METHOD_NOT_FOUND, "there is no such method");
  if (is === "send" || is === "stream") return sending(id, at(params, "message"), is === "stream");
  const taskId = textAt(params, "id");
  return isName(taskId)
    ? { is, id, taskId }
    : refused(id, INVALID_PARAMS, "params.id is no task id");
}

function idIn(found: unknown): RpcId {
  const id = at(found, "id");
  if (typeof id === "string" && id.length <= MAX_ID_LENGTH) return id;
  return Number.isSafeInteger(id) ? Number(id) : null;
}

function sending(id: RpcId, message: unknown, stream: boolean): RpcRequest | RpcError {
  const [taskId, contextId] = [textAt(message, "taskId"), textAt(message, "contextId")];
  if (!isName(taskId)) {
    return refused(id, TRANSPORT_PROTOCOL_ERROR, "params.message.taskId is required: a new UUID");
  }
  if (contextId.length > MAX_ID_LENGTH) {
    return refused(id, INVALID_PARAMS, `contextId is longer than ${MAX_ID_LENGTH} characters`);
  }
  const parts = listAt(message, "parts");
  const texts = parts.map((part) => textAt(part, "text")).filter((text) => text.trim() !== "");
  if (texts.length === 0 || texts.length < parts.length) {
    return refused(id, INVALID_PARAMS, "params.message.parts must be texts that are not blank");
  }
  return { is: "send", id, stream, taskId, contextId, text: texts.join("\n") };
}

function isName(name: string): boolean {
  return name !== "" && name.length <= MAX_ID_LENGTH;
}

function refused(id: RpcId, code: number, message: string): RpcError {
  return { is: "error", id, code, message };
}

export function encodeError(
  { id, code, message }: Omit<RpcError, "is">,
  retryAfter?: number,
): string {
  const name = BINDING_ERRORS[code];
  const data = name && { a2a_error: name, retry_after: retryAfter };
  return JSON.stringify({ jsonrpc: "2.0", id, error: { code, message, data } });
}

function encodeResult(id: RpcId, result: object): string {
  return JSON.stringify({ jsonrpc: "2.0", id, result });
}

/** The states of a task that this agent has. */
export type TaskState = "SUBMITTED" | "WORKING" | "COMPLETED" | "FAILED" | "CANCELED" | "REJECTED";

/** What a task is called on the wire, and the request that its answer is for. */
export interface TaskNames {
  readonly id: RpcId;
  readonly taskId: string;
  readonly contextId: string;
}

/** `TaskStatusUpdateEvent`. */
export function statusEvent(
  { id, taskId, contextId }: TaskNames,
  state: TaskState,
  message = "",
): string {
  const timestamp = new Date().toISOString();
  return encodeResult(id, {
    statusUpdate: { taskId, contextId, status: { ...statusOf(state, message), timestamp } },
  });
}

function statusOf(state: TaskState, message: string) {
  const said = { messageId: crypto.randomUUID(), role: "ROLE_AGENT", parts: [{ text: message }] };
  return {
    state: `TASK_STATE_${state}`,
    ...(message !== "" && { message: said }),
  };
}

const ARTIFACT = "answer";

/** `TaskArtifactUpdateEvent`: a piece of the one artifact, which the first piece begins. */
export function artifactEvent(
  { id, taskId, contextId }: TaskNames,
  text: string,
  { append, lastChunk }: { readonly append: boolean; readonly lastChunk: boolean },
): string {
  const artifact = { artifactId: ARTIFACT, parts: [{ text }] };
  return encodeResult(id, {
    artifactUpdate: { taskId, contextId, artifact, append, lastChunk },
  });
}

/** A task as `GetTask` and `CancelTask` give it. */
export interface Task {
  readonly taskId: string;
  readonly contextId: string;
  readonly state: TaskState;
  /** The answer, or why there is none. */
  readonly text: string;
}

/** Of a text that is longer than so many UTF-16 units, the first ones; its metadata says that it was cut. */
export function taskResult(
  id: RpcId,
  { taskId, contextId, state, text: whole }: Task,
  units: number,
): string {
  const isAnswer = state === "COMPLETED";
  const text = whole.length > units ? prefixOf(whole, units) : whole;
  const metadata = text.length < whole.length ? { truncated: true } : undefined;
  const artifact = { artifactId: ARTIFACT, parts: [{ text }], metadata };
  const artifacts = isAnswer && text !== "" ? [artifact] : [];
  const status = statusOf(state, isAnswer ? "" : text);
  return encodeResult(id, { id: taskId, contextId, status, artifacts });
}
