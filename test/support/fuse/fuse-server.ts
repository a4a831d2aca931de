/**
 * Serves a tree as a FUSE file system from this process's event loop.
 *
 * Whoever is in this process must use the asynchronous calls of node:fs on it: a synchronous one
 * would wait for an answer that only this thread can give.
 */
import { readSync, writeSync } from 'node:fs';
import { errnoName } from '../../../src/base/errno.ts';
import { Fault, toFault } from '../../../src/base/fault.ts';
import { POLL } from '../../../src/sys/poll.ts';
import { Readiness } from '../../../src/sys/readiness.ts';
import { mountFuse } from './fuse-mount.ts';
import {
  decodeRequest,
  decodeTransfer,
  encodeAttributes,
  encodeDirent,
  encodeEntry,
  encodeHeader,
  encodeInit,
  encodeOpen,
  encodeWritten,
  type FuseRequest,
  MAX_TRANSFER,
  OPCODE,
  WRITE_DATA_AT,
} from './fuse-protocol.ts';
import { modeOf, type OpenFile, type TreeNode } from './tree.ts';

const ROOT = 1;
const O_ACCMODE = 3;
const ENOSYS = 38;

/** A mounted tree. */
export class FuseServer implements Disposable {
  /** The path of the tree's root. */
  readonly path: string;
  readonly #root: TreeNode;
  readonly #mount = mountFuse();
  readonly #readiness = new Readiness();
  readonly #buffer = Buffer.alloc(MAX_TRANSFER + 65536);
  readonly #paths = new Map<number, string>([[ROOT, '']]);
  readonly #nodes = new Map<string, number>([['', ROOT]]);
  readonly #open = new Map<number, OpenFile>();
  readonly #underway = new Map<bigint, AbortController>();
  #nextHandle = 1;
  #closed = false;

  constructor(root: TreeNode) {
    this.#root = root;
    this.path = this.#mount.path;
    this.#readiness.add(this.#mount.channel, POLL.IN, 0);
    this.#readiness.keepAlive(false);
    this.#readiness.notify(this.#ready);
  }

  /** The requests that are not answered yet. */
  get underway(): number {
    return this.#underway.size;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const controller of this.#underway.values()) controller.abort();
    this.#readiness.remove(this.#mount.channel);
    this.#readiness.close();
    this.#mount.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  readonly #ready = () => {
    if (this.#closed) return;
    for (;;) {
      let length: number;
      try {
        length = readSync(this.#mount.channel, this.#buffer);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        // ENOENT: the request was taken back before it was read.
        if (code === 'ENOENT' || code === 'EINTR') continue;
        if (code === 'EAGAIN') break;
        throw error;
      }
      void this.#serve(decodeRequest(Buffer.from(this.#buffer.subarray(0, length))));
    }
    this.#readiness.notify(this.#ready);
  };

  async #serve(request: FuseRequest): Promise<void> {
    const { opcode, unique, body } = request;
    if (opcode === OPCODE.FORGET || opcode === OPCODE.BATCH_FORGET) return;
    if (opcode === OPCODE.INTERRUPT) {
      this.#underway.get(body.readBigUInt64LE(0))?.abort();
      return;
    }
    const controller = new AbortController();
    this.#underway.set(unique, controller);
    let errno = 0;
    let answer: Uint8Array = new Uint8Array(0);
    try {
      answer = await this.#answer(request, controller.signal);
    } catch (error) {
      errno = error === ENOSYS ? ENOSYS : toFault(error).errno;
      if (!(error instanceof Fault) && error !== ENOSYS)
        process.stderr.write(`FUSE: ${String(error)}\n`);
      if (errno >= 512) throw new Error(`${errnoName(errno)} may not leave a file system`);
    }
    this.#underway.delete(unique);
    if (this.#closed) return;
    const length = errno === 0 ? answer.length : 0;
    const parts = [encodeHeader(unique, errno, length), answer.subarray(0, length)];
    try {
      writeSync(this.#mount.channel, Buffer.concat(parts));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  async #answer(request: FuseRequest, signal: AbortSignal): Promise<Uint8Array> {
    const { opcode, node, body } = request;
    switch (opcode) {
      case OPCODE.INIT:
        return encodeInit();
      case OPCODE.LOOKUP: {
        const name = body.subarray(0, body.indexOf(0)).toString();
        const path = `${this.#path(node)}/${name}`;
        return encodeEntry(this.#idOf(path), modeOf(this.#find(path)));
      }
      case OPCODE.GETATTR:
      case OPCODE.SETATTR:
        return encodeAttributes(node, modeOf(this.#find(this.#path(node))));
      case OPCODE.READLINK: {
        const found = this.#find(this.#path(node));
        if (found.kind !== 'link') throw new Fault('EINVAL', 'no link');
        return Buffer.from(found.target);
      }
      case OPCODE.OPEN: {
        const found = this.#find(this.#path(node));
        if (found.kind !== 'file') throw new Fault('EISDIR', 'no file');
        const file = found.open((body.readUInt32LE(0) & O_ACCMODE) !== 0);
        const handle = this.#nextHandle++;
        this.#open.set(handle, file);
        return encodeOpen(handle);
      }
      case OPCODE.RELEASE: {
        const handle = Number(body.readBigUInt64LE(0));
        this.#open.get(handle)?.release?.();
        this.#open.delete(handle);
        return new Uint8Array(0);
      }
      case OPCODE.READ: {
        const { handle, offset, size } = decodeTransfer(body);
        const file = this.#open.get(handle);
        if (file?.read === undefined) throw new Fault('EINVAL', 'cannot be read');
        return await file.read(offset, size, signal);
      }
      case OPCODE.WRITE: {
        const { handle, offset, size } = decodeTransfer(body);
        const file = this.#open.get(handle);
        if (file?.write === undefined) throw new Fault('EINVAL', 'cannot be written');
        const bytes = body.subarray(WRITE_DATA_AT, WRITE_DATA_AT + size);
        return encodeWritten(await file.write(offset, bytes, signal));
      }
      case OPCODE.OPENDIR:
        return encodeOpen(0);
      case OPCODE.RELEASEDIR:
      case OPCODE.DESTROY:
        return new Uint8Array(0);
      case OPCODE.READDIR:
        return this.#readdir(node, decodeTransfer(body));
      case OPCODE.STATFS:
        return Buffer.alloc(80);
      default:
        throw ENOSYS;
    }
  }

  #readdir(node: number, { offset, size }: { offset: number; size: number }): Uint8Array {
    const path = this.#path(node);
    const found = this.#find(path);
    if (found.kind !== 'dir') throw new Fault('ENOTDIR', 'no directory');
    const entries = Object.entries(found.entries()).filter(([, entry]) => entry !== undefined);
    const parts: Buffer[] = [];
    let length = 0;
    for (const [at, [name, entry]] of entries.entries()) {
      if (at < offset || entry === undefined) continue;
      const part = encodeDirent(this.#idOf(`${path}/${name}`), modeOf(entry), name, at + 1);
      if (length + part.length > size) break;
      parts.push(part);
      length += part.length;
    }
    return Buffer.concat(parts);
  }

  #path(node: number): string {
    const path = this.#paths.get(node);
    if (path === undefined) throw new Fault('ESTALE', `node ${node}`);
    return path;
  }

  #idOf(path: string): number {
    let id = this.#nodes.get(path);
    if (id === undefined) {
      id = this.#nodes.size + 1;
      this.#nodes.set(path, id);
      this.#paths.set(id, path);
    }
    return id;
  }

  #find(path: string): TreeNode {
    let at = this.#root;
    for (const name of path.split('/').slice(1)) {
      const next = at.kind === 'dir' ? at.entries()[name] : undefined;
      if (next === undefined) throw new Fault('ENOENT', path);
      at = next;
    }
    return at;
  }
}
