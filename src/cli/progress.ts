/** Progress on one line of a terminal: phase, bar, bytes, rate, expected remaining time. */
import { type Clock, systemClock } from '../base/clock.ts';
import { formatSize } from '../base/size.ts';
import type { TextSink } from './output.ts';

const BAR_WIDTH = 24;
/** Drawing more often than this only costs. */
const REDRAW_MS = 100;
/** No rate is shown before this much time: it would be a guess. */
const RATE_AFTER_MS = 200;

/** A time for people: `0.4 s`, `12 s`, `3 min 20 s`. */
export function formatDuration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** The progress of one command; draws nothing when `sink` is no terminal. */
export class Progress {
  readonly #sink: TextSink;
  readonly #clock: Clock;
  #phase = '';
  #total: number | undefined;
  #bytes = 0;
  #startedAt = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #drawn = false;

  constructor(sink: TextSink, clock: Clock = systemClock) {
    this.#sink = sink;
    this.#clock = clock;
  }

  /** Begins a phase of `total` bytes, undefined when that is not known. */
  phase(name: string, total?: number): void {
    this.#phase = name;
    this.#total = total;
    this.#bytes = 0;
    this.#startedAt = this.#clock.now();
    this.#draw();
  }

  /** Tells how many bytes of the phase are done, and of how many if that is known only now. */
  update(bytes: number, total: number | undefined = this.#total): void {
    this.#bytes = bytes;
    this.#total = total;
    if (this.#clock.now() - this.#drawnAt >= REDRAW_MS) this.#draw();
  }

  /** Wipes the line. Idempotent. */
  close(): void {
    if (this.#drawn) this.#sink.write('\r\x1b[K');
    this.#drawn = false;
  }

  /** The line as it is drawn now. */
  line(): string {
    const parts = [this.#phase];
    const elapsedMs = this.#clock.now() - this.#startedAt;
    const total = this.#total;
    if (total !== undefined) {
      const share = total > 0 ? Math.min(this.#bytes / total, 1) : 1;
      const filled = Math.round(share * BAR_WIDTH);
      parts.push(`[${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}]`);
      parts.push(`${formatSize(this.#bytes)} / ${formatSize(total)}`);
    } else if (this.#bytes > 0) parts.push(formatSize(this.#bytes));
    if (elapsedMs >= RATE_AFTER_MS && this.#bytes > 0) {
      const perMs = this.#bytes / elapsedMs;
      parts.push(`${formatSize(Math.round(perMs * 1000))}/s`);
      if (total !== undefined && total > this.#bytes)
        parts.push(`${formatDuration((total - this.#bytes) / perMs)} left`);
    }
    return parts.join('  ');
  }

  #draw(): void {
    if (this.#sink.isTTY !== true) return;
    this.#drawnAt = this.#clock.now();
    this.#drawn = true;
    this.#sink.write(`\r${this.line().slice(0, (this.#sink.columns ?? 80) - 1)}\x1b[K`);
  }
}
