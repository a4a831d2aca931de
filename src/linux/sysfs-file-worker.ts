/**
 * A process that does file operations for another one, and may be killed in any of them.
 *
 * A write to sysfs or debugfs is a call into a driver: it returns when the driver is done, after
 * seconds or, for a read of migration data, never. Such a call cannot be taken back but by a signal
 * to who sleeps in it, so it is made here and not in the process that serves.
 *
 * It ends with the process that started it, see `dieWithParent`.
 */
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { Mapping } from '../sys/mapping.ts';
import { dieWithParent } from '../sys/parent-death.ts';
import {
  type FileRequest,
  type FromFileWorker,
  SHARED_FD,
  type ToFileWorker,
} from './sysfs-file-messages.ts';

let memory: Mapping | undefined;
let data = -1;

function shared(size: number, offset: number, length: number): Uint8Array {
  if (memory === undefined || memory.size < size) {
    memory?.close();
    memory = Mapping.ofFd(SHARED_FD, size);
  }
  return memory.view(offset, length);
}

function write(path: string, text: string): number {
  const fd = openSync(path, constants.O_WRONLY);
  try {
    return writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

function closeData(): void {
  if (data >= 0) closeSync(data);
  data = -1;
}

function answer(request: FileRequest, size: number): Omit<FromFileWorker, 'id'> {
  switch (request.op) {
    case 'write':
      return { count: write(request.path, request.text) };
    case 'read':
      return { text: readFileSync(request.path, 'utf8') };
    case 'open':
      closeData();
      data = openSync(
        request.path,
        request.flags === 'r' ? constants.O_RDONLY : constants.O_WRONLY,
      );
      return {};
    case 'pull':
      return { count: readSync(data, shared(size, request.offset, request.length)) };
    case 'push':
      return { count: writeSync(data, shared(size, request.offset, request.length)) };
    case 'close':
      closeData();
      return {};
  }
}

dieWithParent(Number(process.argv[2]));
process.on('disconnect', () => process.exit(0));
process.on('message', ({ id, shared: size, request }: ToFileWorker) => {
  let said: Omit<FromFileWorker, 'id'>;
  try {
    said = answer(request, size);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    said = { errno: -errno };
  }
  process.send?.({ id, ...said } satisfies FromFileWorker);
});
