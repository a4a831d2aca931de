/** A tree of directories, links and files that are made of functions. */
import { Fault } from '../../../src/base/fault.ts';

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/** What one open(2) of a file got. */
export interface OpenFile {
  /** Answers a read of `size` bytes; `offset` is the position, which the kernel advances. */
  read?(offset: number, size: number, signal: AbortSignal): Promise<Uint8Array> | Uint8Array;
  /** Takes a write; returns how many bytes. */
  write?(offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<number> | number;
  release?(): void;
}

export interface DirNode {
  readonly kind: 'dir';
  /** Asked at every look: what is in a directory may change. */
  entries(): Readonly<Record<string, TreeNode | undefined>>;
}
export interface LinkNode {
  readonly kind: 'link';
  readonly target: string;
}
export interface FileNode {
  readonly kind: 'file';
  readonly mode: number;
  open(forWriting: boolean): OpenFile;
}
export type TreeNode = DirNode | LinkNode | FileNode;

/** A directory. */
export function dir(
  entries:
    | Readonly<Record<string, TreeNode | undefined>>
    | (() => Readonly<Record<string, TreeNode | undefined>>),
): DirNode {
  return { kind: 'dir', entries: typeof entries === 'function' ? entries : () => entries };
}

export function link(target: string): LinkNode {
  return { kind: 'link', target };
}

/** A file of text: read whole at the first read of an open, written by one write. */
export function textFile(
  mode: number,
  read: (() => string | Promise<string>) | undefined,
  write?: (text: string) => void | Promise<void>,
): FileNode {
  return {
    kind: 'file',
    mode,
    open: () => {
      let text: Uint8Array | undefined;
      return {
        async read(offset, size) {
          if (read === undefined) throw new Fault('EIO', 'write-only');
          text ??= new TextEncoder().encode(await read());
          return text.subarray(offset, offset + size);
        },
        async write(_offset, bytes) {
          if (write === undefined) throw new Fault('EIO', 'read-only');
          await write(new TextDecoder().decode(bytes).replace(/\n$/, ''));
          return bytes.length;
        },
      };
    },
  };
}

/** A file whose text never changes. */
export function constant(text: string): FileNode {
  return textFile(0o444, () => `${text}\n`);
}

export function modeOf(node: TreeNode): number {
  if (node.kind === 'dir') return S_IFDIR | 0o755;
  if (node.kind === 'link') return S_IFLNK | 0o777;
  return S_IFREG | node.mode;
}
