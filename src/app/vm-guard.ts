/**
 * A second process that watches over the move of a VM: should the tool be killed in the middle, a QEMU
 * would wait for ever between two steps that only the tool takes, its guest stopped.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Fault } from '../base/fault.ts';

/** What there is to be put right. */
export interface GuardedMove {
  /** QMP sockets; a VM that is saved has no target, one that is restored no source. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Socket of the source VF. */
  readonly fromVf?: string | undefined;
  /** A directory that is not complete. */
  readonly remove?: string | undefined;
  /** Whether the guest ran. */
  readonly ran: boolean;
}

/**
 * How far the tool is: `watch` before it has done anything, `begun` when the source has to be brought
 * back, `cont` when the target was told to run or the saved VM is complete, `over` when all is as it should be.
 */
export type GuardStage = 'watch' | 'begun' | 'cont' | 'over';

/** A message of the tool. */
export interface GuardMessage {
  readonly stage: GuardStage;
  readonly move: GuardedMove;
}

/** The tool's side. */
export class VmGuard {
  readonly #child: ChildProcess;
  readonly #move: GuardedMove;

  private constructor(child: ChildProcess, move: GuardedMove) {
    this.#child = child;
    this.#move = move;
  }

  /** Starts the process and waits until it watches. @throws {Fault} EIO when it does not */
  static async start(move: GuardedMove): Promise<VmGuard> {
    // A process runs what was built, also when this file is run as its source.
    const program = fileURLToPath(new URL('../../dist/app/vm-guard-worker.js', import.meta.url));
    const child = fork(program, {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      detached: true,
      // What this process was started with, such as a program on its command line, is not for it.
      execArgv: [],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      const failed = () => reject(new Fault('EIO', 'the guard of the move does not start'));
      child.once('error', failed);
      child.once('exit', failed);
    });
    const guard = new VmGuard(child, move);
    await guard.tell('watch');
    return guard;
  }

  /** Tells how far the move is; from then on that is what is put right. */
  async tell(stage: GuardStage): Promise<void> {
    if (!this.#child.connected) return;
    const message: GuardMessage = { stage, move: this.#move };
    await new Promise<void>((resolve) => this.#child.send(message, () => resolve()));
  }

  /** All is as it should be: nobody has to watch any more. */
  async end(): Promise<void> {
    await this.tell('over');
    if (this.#child.connected) this.#child.disconnect();
    this.#child.unref();
  }
}
