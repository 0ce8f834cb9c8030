import { Lost } from "./message.ts";

/** Lets work be given up as soon as the connection that it waits for is lost. */
export interface LossGuard {
  readonly isLost: () => boolean;
  /** Settles as the work does, or rejects with `Lost`; leaves nothing behind when the work is done. */
  readonly orLost: <T>(work: Promise<T>) => Promise<T>;
}

/** `Promise.race` against `lost` would keep a reaction for every publish for as long as a connection lives. */
export function createLossGuard(lost: Promise<unknown>): LossGuard {
  const waiting = new Set<(error: Lost) => void>();
  let isLost = false;
  void lost.then(() => {
    isLost = true;
    for (const reject of waiting) reject(new Lost("the connection was lost"));
    waiting.clear();
  });
  return {
    isLost: () => isLost,
    orLost: (work) =>
      new Promise((resolve, reject) => {
        if (isLost) reject(new Lost("the connection was lost"));
        else waiting.add(reject);
        work.then(resolve, reject).finally(() => waiting.delete(reject));
      }),
  };
}
