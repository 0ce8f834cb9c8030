import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { needsPostgres } from "../support/postgres.ts";
import { restartContract, storeContract } from "./contract.ts";
import { noteContract } from "./note-contract.ts";
import { postgresHome } from "./postgres-home.ts";

describe("PostgreSQL", needsPostgres, () => {
  storeContract("PostgreSQL", postgresHome);
  restartContract("PostgreSQL", postgresHome);
  it("reads a conversation that two ask for at once as it is", async () => {
    await using home = await postgresHome();
    const store = await home.open();
    await store.append("lane", ["hi", "Hello"]);
    const read = await Promise.all([store.history("lane"), store.history("lane")]);
    assert.deepEqual(read, [
      ["hi", "Hello"],
      ["hi", "Hello"],
    ]);
  });

  noteContract("PostgreSQL", async () => {
    const home = await postgresHome();
    const { notes } = (await home.open()).database;
    return {
      notes: (prefix) => notes.notes(prefix),
      note: (name) => notes.note(name),
      writeNote: (name, text, version) => notes.writeNote(name, text, version),
      useNote: (name) => notes.useNote(name),
      eraseNote: (name) => notes.eraseNote(name),
      [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
    };
  });
});
