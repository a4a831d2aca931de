/**
 * Archives in the `newc` form of cpio, which the kernel unpacks into its first root.
 *
 * Source: Documentation/driver-api/early-userspace/buffer-format.rst (initramfs buffer format).
 */

/** File types in the upper bits of a mode. Source: include/uapi/linux/stat.h. */
export const FILE_TYPE = {
  DIRECTORY: 0o040000,
  CHARACTER: 0o020000,
  REGULAR: 0o100000,
  LINK: 0o120000,
} as const;

/** One file of an archive. */
export interface ArchiveEntry {
  /** Path without a leading slash; directories come before what is in them. */
  readonly name: string;
  /** Type and permission bits. */
  readonly mode: number;
  /** Bytes of a regular file, or the target of a link. */
  readonly content?: Uint8Array;
  /** Device numbers of a device node. */
  readonly device?: { readonly major: number; readonly minor: number };
}

const MAGIC = '070701';
const HEADER_BYTES = 110;
const ALIGNMENT = 4;
/** The name of the entry that ends an archive. */
const TRAILER = 'TRAILER!!!';

const NO_BYTES = new Uint8Array();

/**
 * The archive of `entries`, owned by root, with times of zero, so that the same entries give the same
 * bytes.
 * @throws {RangeError} when a name is empty, absolute or is that of the trailer
 */
export function newcArchive(entries: readonly ArchiveEntry[]): Uint8Array {
  for (const { name } of entries) checkName(name);
  const all = [...entries, { name: TRAILER, mode: 0 }];
  const encoder = new TextEncoder();
  const parts = all.map((entry, at) => ({
    entry,
    inode: at + 1,
    name: encoder.encode(`${entry.name}\0`),
    content: entry.content ?? NO_BYTES,
  }));
  const size = parts.reduce(
    (total, { name, content }) =>
      total + aligned(HEADER_BYTES + name.length) + aligned(content.length),
    0,
  );
  const archive = new Uint8Array(size);
  let at = 0;
  for (const { entry, inode, name, content } of parts) {
    archive.set(encoder.encode(header(entry, inode, name.length, content.length)), at);
    archive.set(name, at + HEADER_BYTES);
    at += aligned(HEADER_BYTES + name.length);
    archive.set(content, at);
    at += aligned(content.length);
  }
  return archive;
}

function checkName(name: string): void {
  if (name === '' || name.startsWith('/') || name === TRAILER)
    throw new RangeError(`"${name}" cannot be a name in an archive`);
}

function header(
  { name, mode, device }: ArchiveEntry,
  inode: number,
  nameBytes: number,
  contentBytes: number,
): string {
  const isTrailer = name === TRAILER;
  const links = (mode & 0o170000) === FILE_TYPE.DIRECTORY ? 2 : 1;
  const fields = [
    isTrailer ? 0 : inode,
    mode,
    0, // uid
    0, // gid
    links,
    0, // mtime
    contentBytes,
    0, // major of the device that the file lies on
    0, // minor
    device?.major ?? 0,
    device?.minor ?? 0,
    nameBytes,
    0, // checksum, of the form with checksums only
  ];
  return MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
