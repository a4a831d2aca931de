/** The file of a listening socket: one living server at a time, and nothing left behind. */
import { lstatSync, rmSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import { UnixSocket } from '../sys/unix-socket.ts';

function identity(path: string): { readonly dev: number; readonly ino: number } | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined ? undefined : { dev: stat.dev, ino: stat.ino };
}

/** True when somebody listens at `path`. */
function answers(path: string): boolean {
  try {
    UnixSocket.connect(path).close();
    return true;
  } catch (error) {
    // A full backlog and a forbidden socket have somebody behind them as well.
    return !(error instanceof Fault && ['ECONNREFUSED', 'ENOENT'].includes(error.code));
  }
}

/** A listening socket and its file. */
export class SocketPath {
  readonly path: string;
  readonly socket: UnixSocket;
  #identity: ReturnType<typeof identity>;

  /**
   * Listens at `path`, where a socket that a dead server left behind is replaced.
   *
   * @param listening the socket that listens there already, taken over from its server
   * @throws {Fault} EADDRINUSE when a server answers there or the file is no socket; EACCES ...
   */
  constructor(path: string, listening?: number) {
    this.path = path;
    if (listening !== undefined) {
      this.socket = new UnixSocket(listening);
      this.#identity = identity(path);
      return;
    }
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat !== undefined) {
      if (!stat.isSocket())
        throw new Fault('EADDRINUSE', `${path} is there and is no socket`, {
          hint: 'choose another socket path',
        });
      if (answers(path))
        throw new Fault('EADDRINUSE', `a server is listening at ${path}`, {
          hint: 'stop that server, or choose another socket path',
        });
      rmSync(path, { force: true });
    }
    this.socket = UnixSocket.listen(path);
    this.#identity = identity(path);
  }

  /** The file is another server's from now on. */
  forget(): void {
    this.#identity = undefined;
  }

  /** Stops listening and removes the file, unless it is another server's by now. Idempotent. */
  close(): void {
    this.socket.close();
    const now = identity(this.path);
    const mine = this.#identity;
    if (now !== undefined && now.ino === mine?.ino && now.dev === mine.dev)
      rmSync(this.path, { force: true });
  }
}
