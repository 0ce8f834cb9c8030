/** What a look at one thing found: a line of a check-up, and a warning at the start where it is not ok. */
export interface Check {
  /** What was looked at, in two or three words. */
  readonly name: string;
  /** `warn` works and should not stay so; `fail` does not work, or is open to anyone. */
  readonly result: "ok" | "warn" | "fail";
  /** One sentence; never the value of a secret. */
  readonly message: string;
  /** The command or setting that mends it. */
  readonly remedy?: string;
}
