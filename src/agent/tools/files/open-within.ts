import type { Bounds, Use } from "./bounds.ts";
import { FileFault, shownPath } from "./errors.ts";
import { locate } from "./locate.ts";
import { pinBelow } from "./open-dir.ts";
import type { Pin } from "./open-dir.ts";
import { isKeptElsewhere } from "./other-names.ts";

/** Does something with a file that is there to be read; the folder is held fast meanwhile. */
export async function withFileToRead<T>(
  path: string,
  bounds: Bounds,
  work: (pin: Pin, name: string) => Promise<T>,
): Promise<T> {
  const { folder, names, exists } = await locate(path, "read", bounds);
  if (!exists) throw new FileFault(`${shownPath(path)} does not exist`);
  const [name] = names;
  if (name === undefined) throw new FileFault("that is a folder: list_dir shows what is in it");
  return await withPin(pinBelow(folder, [], false), (pin) => work(guarded(pin, bounds), name));
}

/** Does something with a file to be written; folders that are missing on the way are made. */
export async function withFileToWrite<T>(
  path: string,
  bounds: Bounds,
  work: (pin: Pin, name: string) => Promise<T>,
  use: Use = "write",
): Promise<T> {
  const { folder, names } = await locate(path, use, bounds);
  const name = names.at(-1);
  if (name === undefined) throw new FileFault("that is a folder");
  return await withPin(pinBelow(folder, names.slice(0, -1), true), (pin) =>
    work(guarded(pin, bounds), name),
  );
}

/** Does something with a folder that is there to be read. */
export async function withFolderToRead<T>(
  path: string,
  bounds: Bounds,
  work: (pin: Pin) => Promise<T>,
): Promise<T> {
  const { folder, names, exists } = await locate(path, "read", bounds);
  if (!exists) throw new FileFault(`${shownPath(path)} does not exist`);
  return await withPin(pinBelow(folder, names, false), work);
}

function guarded(pin: Pin, bounds: Bounds): Pin {
  return { ...pin, isKeptElsewhere: (stats) => isKeptElsewhere(stats, bounds) };
}

async function withPin<T>(opening: Promise<Pin>, work: (pin: Pin) => Promise<T>): Promise<T> {
  const pin = await opening;
  try {
    return await work(pin);
  } finally {
    await pin.close();
  }
}
