import type { NoteInfo, NoteStore, StoredNote } from "../contract/notes.ts";
import type { Row } from "./connection/session.ts";
import type { PostgresCommits } from "./group-commit.ts";

/** The notes in a database, which several gateways write. */
export class PostgresNotes implements NoteStore {
  readonly #commits: PostgresCommits;

  constructor(commits: PostgresCommits) {
    this.#commits = commits;
  }

  async notes(prefix: string): Promise<readonly NoteInfo[]> {
    return (await this.#commits.read(SQL.list, [prefix])).map(infoOf);
  }

  async note(name: string): Promise<StoredNote | undefined> {
    const [row] = await this.#commits.read(SQL.one, [name]);
    return row && { ...infoOf(row), text: String(row["text"]) };
  }

  writeNote(name: string, text: string, version: number): Promise<number | undefined> {
    return this.#commits.run(
      async (tx) => {
        const [row] = await (version === 0
          ? tx.query(SQL.insert, [name, text])
          : tx.query(SQL.replace, [name, text, version]));
        return row && Number(row["version"]);
      },
      { args: ["note", name, text, version] },
    );
  }

  async useNote(name: string): Promise<void> {
    await this.#commits.run((tx) => tx.query(SQL.use, [name]), {
      args: ["use", name],
      survives: "process",
    });
  }

  async eraseNote(name: string): Promise<void> {
    await this.#commits.run((tx) => tx.query(SQL.erase, [name]), { args: ["erase", name] });
  }
}

function infoOf(row: Row): NoteInfo {
  return {
    name: String(row["name"]),
    version: Number(row["version"]),
    usedAt: Number(row["used_at"]),
  };
}

const INFO = "name, version, (extract(epoch FROM used_at) * 1000)::bigint AS used_at";
const NEXT = "nextval('picoclaw.note_versions')";
const SQL = {
  list: `SELECT ${INFO} FROM picoclaw.notes WHERE starts_with(name, $1::text) ORDER BY name`,
  one: `SELECT ${INFO}, text FROM picoclaw.notes WHERE name = $1`,
  insert: `INSERT INTO picoclaw.notes (name, text, version, used_at) VALUES ($1, $2, ${NEXT}, now())
       ON CONFLICT (name) DO NOTHING RETURNING version`,
  replace: `UPDATE picoclaw.notes SET text = $2, version = ${NEXT}, used_at = now()
       WHERE name = $1 AND version = $3 RETURNING version`,
  use: "UPDATE picoclaw.notes SET used_at = now() WHERE name = $1",
  erase: "DELETE FROM picoclaw.notes WHERE name = $1",
} as const;
