import { isAbsolute, relative, sep } from "node:path";

/** Whether a real path is the folder or lies in it. */
export function isInside(real: string, folder: string): boolean {
  const way = relative(folder, real);
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
