import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FILE_TYPE, newcArchive } from '../../src/app/newc-archive.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);

test('the bytes of a small archive', () => {
  const archive = newcArchive([
    { name: 'dev', mode: FILE_TYPE.DIRECTORY | 0o755 },
    { name: 'dev/console', mode: FILE_TYPE.CHARACTER | 0o600, device: { major: 5, minor: 1 } },
    { name: 'init', mode: FILE_TYPE.REGULAR | 0o755, content: bytesOf('hello') },
    { name: 'sh', mode: FILE_TYPE.LINK | 0o777, content: bytesOf('init') },
  ]);
  const zeros = (count: number) => '0'.repeat(8 * count);
  const expected = [
    // inode, mode, uid, gid, links, mtime, size, device of the file, device, bytes of the name, sum
    `070701${'00000001'}${'000041ed'}${zeros(2)}${'00000002'}${zeros(1)}${'00000000'}${zeros(4)}${'00000004'}${zeros(1)}dev\0\0\0`,
    `070701${'00000002'}${'00002180'}${zeros(2)}${'00000001'}${zeros(1)}${'00000000'}${zeros(2)}${'00000005'}${'00000001'}${'0000000c'}${zeros(1)}dev/console\0\0\0`,
    `070701${'00000003'}${'000081ed'}${zeros(2)}${'00000001'}${zeros(1)}${'00000005'}${zeros(4)}${'00000005'}${zeros(1)}init\0\0hello\0\0\0`,
    `070701${'00000004'}${'0000a1ff'}${zeros(2)}${'00000001'}${zeros(1)}${'00000004'}${zeros(4)}${'00000003'}${zeros(1)}sh\0\0\0\0init`,
    `070701${zeros(4)}${'00000001'}${zeros(6)}${'0000000b'}${zeros(1)}TRAILER!!!\0\0\0\0`,
  ];
  expect(Buffer.from(archive).toString('latin1')).toBe(expected.join(''));
});

test('names that cannot be are refused', () => {
  for (const name of ['', '/init', 'TRAILER!!!'])
    expect(() => newcArchive([{ name, mode: FILE_TYPE.REGULAR }])).toThrow(RangeError);
});

test('any files lie where a reader of the headers looks for them', () => {
  const file = fc.record({
    name: fc.stringMatching(/^[a-z][a-z/.]{0,20}$/),
    content: fc.uint8Array({ maxLength: 40 }),
  });
  fc.assert(
    fc.property(fc.array(file, { maxLength: 8 }), (files) => {
      const archive = newcArchive(
        files.map(({ name, content }) => ({ name, content, mode: FILE_TYPE.REGULAR | 0o600 })),
      );
      expect(read(archive)).toEqual([...files, { name: 'TRAILER!!!', content: new Uint8Array() }]);
    }),
  );
});

/** Names and contents of an archive, by the headers alone. */
function read(archive: Uint8Array): { name: string; content: Uint8Array }[] {
  const found = [];
  const aligned = (at: number) => (at + 3) & ~3;
  for (let at = 0; at < archive.length; ) {
    const field = (n: number) =>
      Number.parseInt(
        Buffer.from(archive.subarray(at + 6 + n * 8, at + 14 + n * 8)).toString(),
        16,
      );
    const nameEnd = at + 110 + field(11);
    const start = aligned(nameEnd);
    found.push({
      name: Buffer.from(archive.subarray(at + 110, nameEnd - 1)).toString(),
      content: archive.slice(start, start + field(6)),
    });
    at = aligned(start + field(6));
  }
  return found;
}
