/** Why a hook gave no answer. */
export type HookFaultKind =
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
export class HookFault extends Error {
  override readonly name = "HookFault";
  readonly kind: HookFaultKind;

  constructor(kind: HookFaultKind, message: string) {
    super(message);
    this.kind = kind;
  }
}
