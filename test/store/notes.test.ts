import { createNoteTable } from "../support/note-table.ts";
import { noteContract } from "./note-contract.ts";

noteContract("the table of the tests", async () => ({
  ...createNoteTable(() => 1),
  [Symbol.asyncDispose]: async () => {},
}));
