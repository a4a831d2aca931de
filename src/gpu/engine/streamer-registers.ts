/** Registers that a command streamer answers by itself. */
import { TWO_32 } from '../../base/int.ts';
import { ENGINE_REG, engineIdValue, PR_CTR_CTRL } from '../../xe/engine-registers.ts';
import { GUC_CLASS } from '../../xe/guc/vf-actions.ts';
import { CTX_CTRL } from '../../xe/lrc.ts';
import type { CommandStreamer } from './command-streamer.ts';
import type { SpecialRegisters } from './registers.ts';

/** Classes of engines as ENGINE_ID numbers them, by GuC class. */
const HARDWARE_CLASS: Readonly<Record<number, number>> = {
  [GUC_CLASS.RENDER]: 0,
  [GUC_CLASS.VIDEO]: 1,
  [GUC_CLASS.VIDEOENHANCE]: 2,
  [GUC_CLASS.BLITTER]: 3,
  [GUC_CLASS.COMPUTE]: 5,
};

/** Ring, batch, time and watchdog registers of a streamer. */
export class StreamerRegisters implements SpecialRegisters {
  readonly #streamer: CommandStreamer;
  /** Ticks at which CTX_TIMESTAMP was {@link #ctxBase}. */
  #since: number;
  #ctxBase: number;
  /** Ticks at which the watchdog counter was started; undefined while it stands. */
  #counterSince: number | undefined;

  constructor(streamer: CommandStreamer) {
    this.#streamer = streamer;
    this.#since = this.now;
    this.#ctxBase = streamer.image.ctxTimestamp;
  }

  /** Ticks of the command streamer's clock. */
  get now(): number {
    return Number(this.#streamer.host.timestamp());
  }

  /** Ticks that the context has been on an engine, 0 to 2^53-1. */
  get ctxTimestamp(): number {
    return this.#ctxBase + (this.now - this.#since);
  }

  /** True when the watchdog counter has passed its threshold. */
  get watchdogExpired(): boolean {
    if (this.#counterSince === undefined) return false;
    const threshold = this.#streamer.registers.own[ENGINE_REG.PR_CTR_THRSH / 4] as number;
    return this.now - this.#counterSince >= threshold;
  }

  /** Stops the watchdog counter. */
  stopWatchdog(): void {
    this.writeSpecial(ENGINE_REG.PR_CTR_CTRL, PR_CTR_CTRL.STOP);
  }

  /** Starts the counter again that ran when the context was saved. */
  restored(): void {
    const control = this.#streamer.registers.own[ENGINE_REG.PR_CTR_CTRL / 4] as number;
    this.writeSpecial(ENGINE_REG.PR_CTR_CTRL, control);
  }

  readSpecial(offset: number): number {
    const { image, fetch, engine, registers } = this.#streamer;
    switch (offset) {
      case ENGINE_REG.RING_TAIL:
        return fetch.tail;
      case ENGINE_REG.RING_HEAD:
        fetch.sync();
        return fetch.levels.ipOf(0);
      case ENGINE_REG.RING_START:
        return image.ringStart;
      case ENGINE_REG.RING_CTL:
        return image.ringCtl;
      case ENGINE_REG.RING_ACTHD:
        return fetch.address % TWO_32;
      case ENGINE_REG.RING_ACTHD_UDW:
        return Math.floor(fetch.address / TWO_32);
      case ENGINE_REG.RING_BBADDR:
        return fetch.inRing ? 0 : fetch.address % TWO_32;
      case ENGINE_REG.RING_BBADDR_UDW:
        return fetch.inRing ? 0 : Math.floor(fetch.address / TWO_32);
      case ENGINE_REG.ENGINE_ID:
        return engineIdValue(HARDWARE_CLASS[engine.engineClass] ?? 0, engine.instance);
      case ENGINE_REG.RING_CURRENT_LRCA:
        return image.address;
      case ENGINE_REG.RING_CONTEXT_CONTROL:
        return image.contextControl & 0xffff & ~CTX_CTRL.ENGINE_CTX_RESTORE_INHIBIT;
      case ENGINE_REG.PTBP_LDW:
        return (image.pdp0 ?? 0) % TWO_32;
      case ENGINE_REG.PTBP_UDW:
        return Math.floor((image.pdp0 ?? 0) / TWO_32);
      case ENGINE_REG.RING_TIMESTAMP:
        return this.now % TWO_32;
      case ENGINE_REG.RING_TIMESTAMP_UDW:
        return Math.floor(this.now / TWO_32);
      case ENGINE_REG.RING_CTX_TIMESTAMP:
        return this.ctxTimestamp % TWO_32;
      case ENGINE_REG.RING_CTX_TIMESTAMP_UDW:
        return Math.floor(this.ctxTimestamp / TWO_32);
      default:
        return registers.own[offset / 4] as number;
    }
  }

  /** Only the timestamp of the context and the watchdog counter can be written. */
  writeSpecial(offset: number, value: number): void {
    const { own } = this.#streamer.registers;
    switch (offset) {
      case ENGINE_REG.RING_CTX_TIMESTAMP:
        return this.#setCtxTimestamp(Math.floor(this.ctxTimestamp / TWO_32) * TWO_32 + value);
      case ENGINE_REG.RING_CTX_TIMESTAMP_UDW:
        return this.#setCtxTimestamp(value * TWO_32 + (this.ctxTimestamp % TWO_32));
      case ENGINE_REG.PR_CTR_CTRL: {
        const isStart = (value & PR_CTR_CTRL.LOGIC_OP) === PR_CTR_CTRL.START;
        own[offset / 4] = value;
        this.#counterSince = isStart ? this.now : undefined;
        return;
      }
      default:
        return;
    }
  }

  #setCtxTimestamp(value: number): void {
    // Beyond 2^53 ticks (15 years) a number is not exact; such a value is not a time that passed.
    this.#ctxBase = value <= Number.MAX_SAFE_INTEGER ? value : value % TWO_32;
    this.#since = this.now;
  }
}
