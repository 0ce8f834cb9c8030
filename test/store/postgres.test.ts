import { describe } from "node:test";
import { needsPostgres } from "../support/postgres.ts";
import { conversationContract, meterContract } from "./contract.ts";
import { postgresHome } from "./postgres-home.ts";

describe("PostgreSQL", needsPostgres, () => {
  conversationContract("PostgreSQL", postgresHome);
  meterContract("PostgreSQL", postgresHome);
});
