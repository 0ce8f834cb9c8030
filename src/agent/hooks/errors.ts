/** Why a hook gave no answer. */
export type HookErrorKind =
  | "unstartable"
  | "died"
  | "slow"
  | "busy"
  | "nonsense"
  /** It answered with an error of JSON-RPC. */
  | "error"
  /** It is not started again yet. */
  | "resting";

/** Never leaves the folder: who asks a hook gets an answer that denies. The message is for the log. */
export class HookError extends Error {
  override readonly name = "HookError";
  readonly kind: HookErrorKind;

  constructor(kind: HookErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}
