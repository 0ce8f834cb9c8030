/** What went wrong with the connection, and not with what was sent. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** The server accepts no writes: a standby, or a primary that was told to. */
export class ReadOnlyError extends ConnectionError {
  constructor(host: string) {
    super(`${host} only reads`);
  }
}

/** No answer came in time: to ask again at once would take as long. */
export class DeadlineError extends ConnectionError {
  constructor(milliseconds: number) {
    super(`no answer came within ${milliseconds / 1000} s`);
  }
}

/** Another transaction changed what this one had read. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}
