/**
 * The same pieces and the same end; `onPiece` hears of each piece. Unlike a loop of one's own it ends the
 * source too where the reader leaves in the middle.
 */
export async function* overheard<Result>(
  source: AsyncIterator<string, Result>,
  onPiece: () => void,
): AsyncGenerator<string, Result> {
  try {
    for (;;) {
      const step = await source.next();
      if (step.done === true) return step.value;
      onPiece();
      yield step.value;
    }
  } finally {
    await source.return?.();
  }
}
