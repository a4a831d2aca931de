// Writes an archive that Linux unpacks as its first file system.
//
// Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux (the newc format).

import * as fs from 'node:fs';
import * as path from 'node:path';

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const DIRECTORY = 0o040755;
const REGULAR = 0o100000;
const SYMLINK = 0o120777;

const padding = (length) => (4 - (length % 4)) % 4;

/** An archive being written to a file. */
export class CpioWriter {
  #fd;
  #nextInode = 1;
  #directories = new Set(['.']);

  /** @param {string} file where the archive goes */
  constructor(file) {
    this.#fd = fs.openSync(file, 'w');
  }

  /** A directory with those above it; twice does no harm. */
  directory(name) {
    if (this.#directories.has(name)) return;
    this.directory(path.dirname(name));
    this.#directories.add(name);
    this.#entry(name, DIRECTORY, Buffer.alloc(0));
  }

  /** A file with the given content. */
  content(name, text, mode = 0o755) {
    this.directory(path.dirname(name));
    this.#entry(name, REGULAR | mode, Buffer.from(text));
  }

  /** A file of this machine. */
  file(name, source) {
    this.directory(path.dirname(name));
    this.#entry(name, REGULAR | 0o755, fs.readFileSync(source));
  }

  /** A file or a directory of this machine with all that is in it; links become what they point to. */
  tree(name, source) {
    if (!fs.statSync(source).isDirectory()) {
      this.file(name, source);
      return;
    }
    this.directory(name);
    for (const child of fs.readdirSync(source))
      this.tree(`${name}/${child}`, path.join(source, child));
  }

  /** A symbolic link. */
  link(name, target) {
    this.directory(path.dirname(name));
    this.#entry(name, SYMLINK, Buffer.from(target));
  }

  /** Ends the archive. */
  close() {
    this.#entry(TRAILER, 0, Buffer.alloc(0));
    fs.closeSync(this.#fd);
  }

  #entry(name, mode, data) {
    const nameBytes = Buffer.from(`${name}\0`);
    const inode = this.#nextInode++;
    const links = 1;
    // inode, mode, uid, gid, links, mtime, size, device (4 numbers), bytes of the name, checksum.
    const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0];
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    const head = header.length + nameBytes.length;
    fs.writeSync(this.#fd, header + name + '\0'.repeat(1 + padding(head)));
    for (let at = 0; at < data.length; ) at += fs.writeSync(this.#fd, data, at);
    fs.writeSync(this.#fd, '\0'.repeat(padding(data.length)));
  }
}
