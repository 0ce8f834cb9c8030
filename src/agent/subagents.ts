/** A task in the background, as its client may see it. */
export interface BackgroundTask {
  readonly id: string;
  readonly label: string;
  readonly state: "waiting" | "running" | "done" | "failed";
  /** Since it was asked for, until now or until it ended. */
  readonly seconds: number;
}
