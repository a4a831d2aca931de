/** `xe-vfio serve` as a child process. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isErrnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import type { IpcAnswer } from './serve-ipc.ts';
import type { ServeAnswers, ServeRequest, ToServer } from './serve-messages.ts';

/** Text that a server said at the end of its life is kept up to so many characters. */
const KEPT_TEXT = 4000;

/** A server in a process of its own. */
export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #exit: Promise<void>;
  readonly #waiting = new Map<number, (answer: IpcAnswer | undefined) => void>();
  #nextId = 1;
  #text = '';
  #gone = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exit = new Promise((resolve) => {
      child.once('exit', () => {
        this.#gone = true;
        for (const settle of this.#waiting.values()) settle(undefined);
        this.#waiting.clear();
        resolve();
      });
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#text = (this.#text + text).slice(-KEPT_TEXT);
    });
  }

  /**
   * Starts `xe-vfio serve` and waits until its sockets are there.
   *
   * @param args what comes after `serve`
   * @throws {Fault} the cause that the process gave when it does not start
   */
  static async start(args: readonly string[]): Promise<ServerProcess> {
    const child = fork(
      fileURLToPath(new URL('../../bin/xe-vfio', import.meta.url)),
      ['serve', ...args],
      {
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
        execArgv: [],
        // Ctrl-C in a terminal is for the process that started this one, which needs its servers to
        // roll back.
        detached: true,
      },
    );
    const server = new ServerProcess(child);
    const ready = new Promise<boolean>((resolve) => {
      child.on('message', (answer: IpcAnswer) => {
        if (answer.type === 'ready') resolve(true);
        else server.#waiting.get(answer.id)?.(answer);
      });
      child.once('error', () => resolve(false));
      void server.#exit.then(() => resolve(false));
    });
    if (await ready) return server;
    throw failureOf(server.#text);
  }

  /** Process id. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Asks the server. @throws {Fault} what it answers; ENODEV when it is gone */
  async ask<Request extends ServeRequest>(request: Request): Promise<ServeAnswers[Request['op']]> {
    const id = this.#nextId++;
    const answer = await new Promise<IpcAnswer | undefined>((resolve) => {
      if (this.#gone) return resolve(undefined);
      this.#waiting.set(id, resolve);
      const message: ToServer = { id, request };
      this.#child.send(message);
    });
    this.#waiting.delete(id);
    if (answer?.type === 'answer') return answer.value as ServeAnswers[Request['op']];
    if (answer?.type !== 'refusal')
      throw new Fault('ENODEV', `a server process is gone: ${this.#text.trim()}`);
    throw new Fault(answer.error.code, answer.error.message);
  }

  /** Resolves when the process has ended by itself. */
  async gone(): Promise<void> {
    await this.#exit;
  }

  /** Ends the process, as a service manager would unless told otherwise, and waits. Idempotent. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.#gone) this.#child.kill(signal);
    await this.#exit;
  }
}

/** The fault of a process that ended at once, from the three lines that it left. */
function failureOf(text: string): Fault {
  const [, code = '', reason = ''] = /^cause: (E[A-Z0-9]+) (.*)$/m.exec(text) ?? [];
  if (isErrnoName(code)) return new Fault(code, `a server did not start: ${reason}`);
  return new Fault('EIO', `a server did not start: ${text.trim()}`);
}
