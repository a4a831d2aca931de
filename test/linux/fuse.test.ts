import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { BlockingFiles } from '../../src/linux/sysfs-files.ts';
import { FuseServer } from '../support/fuse/fuse-server.ts';
import { constant, dir, link } from '../support/fuse/tree.ts';

test('x', async () => {
  const s = new FuseServer(dir({ a: dir({ b: constant('hi') }), c: link('a/b') }));
  expect(await readdir(s.path)).toEqual(['a', 'c']);
  expect(await readFile(`${s.path}/c`, 'utf8')).toBe('hi\n');
  const f = new BlockingFiles();
  console.time('w');
  expect(await f.read(`${s.path}/c`)).toBe('hi\n');
  console.timeEnd('w');
  f.close();
  s.close();
});
