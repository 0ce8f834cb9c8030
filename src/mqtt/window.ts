/** A bound on how many things are under way; further ones wait in the order they came. */
export interface Window {
  /** Resolves with the function that gives the place back. */
  enter(): Promise<() => void>;
}

export function createWindow(size: number): Window {
  let free = size;
  const waiting: (() => void)[] = [];
  const leave = (): void => {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  };
  return {
    async enter() {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      return leave;
    },
  };
}
