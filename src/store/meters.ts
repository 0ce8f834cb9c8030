import type { DatabaseSync } from "node:sqlite";
import type { Meter, MeterChanges } from "./contract.ts";
import { parsed } from "./parsed.ts";
import { storable } from "./storable.ts";

/** The meters of a database; `change` is work inside a transaction. */
export interface Meters {
  all(): readonly Meter[];
  change(changes: MeterChanges): void;
}

export function createMeters(db: DatabaseSync): Meters {
  const all = db.prepare("SELECT meter FROM meters");
  const put = db.prepare("INSERT OR REPLACE INTO meters (name, meter) VALUES (?, ?)");
  const drop = db.prepare("DELETE FROM meters WHERE name = ?");
  return {
    all: () => all.all().map((row) => parsed<Meter>(row["meter"])),
    change(changes) {
      for (const name of changes.drop) drop.run(storable(name));
      for (const { name, state } of changes.put) {
        put.run(storable(name), JSON.stringify({ name, state }));
      }
    },
  };
}
