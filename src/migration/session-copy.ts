/** The copy phase: all of a stream from where it is read to where it is written. */
import type { SessionRun } from './session-run.ts';

/** Bytes asked for at once; a device gives what it can give in one piece. */
const PIECE = 4 * 2 ** 20;
/**
 * A short stream goes in smaller pieces: source, tool and target then work beside each other, where one
 * piece would have each of them wait for the one before.
 */
const SHORT = { stream: 16 * 2 ** 20, piece: 512 * 2 ** 10 };

/** What a stream is read from: a migration data file, or a state that was kept. */
export interface StreamReader {
  /** The next bytes, at most `max`, as views that stay valid until the next call; none at the end. */
  read(max: number): Promise<readonly Uint8Array[]>;
}

/**
 * Moves a stream of exactly `announced` bytes, or of as many as come when that is an estimate.
 *
 * The views that the source gives lie where its state lies (or in its receive buffer) and are handed
 * on as they are. Reading ahead is the source's business: a vfio-user client has the next piece
 * under way while this one is written.
 *
 * @throws {StepFailure} EIO when more or fewer bytes came than were announced, else the errno of the
 * end that failed
 */
export async function copyStream(
  run: SessionRun,
  source: StreamReader,
  target: (views: readonly Uint8Array[]) => Promise<void>,
  announced: number,
  estimate = false,
): Promise<void> {
  const most = announced <= SHORT.stream ? SHORT.piece : PIECE;
  let moved = 0;
  for (;;) {
    const views = await run.step('source', () => source.read(most));
    let bytes = 0;
    for (const view of views) bytes += view.length;
    if (bytes === 0) break;
    if (!estimate && moved + bytes > announced)
      run.fail('source', 'EIO', `the source announced ${announced} bytes and delivers more`);
    await run.step('target', () => target(views));
    moved += bytes;
    run.moved(moved, Math.max(moved, announced));
  }
  if (!estimate && moved !== announced)
    run.fail('source', 'EIO', `the source announced ${announced} bytes and delivered ${moved}`);
}
