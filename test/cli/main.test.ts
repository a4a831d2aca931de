import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { COMMANDS } from '../../src/cli/command-table.ts';
import { EXIT_MEANINGS } from '../../src/cli/exit-codes.ts';
import { main } from '../../src/cli/main.ts';
import { bmgPackets, streamBytes } from '../support/stream-builder.ts';

let folder: string;
let good: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'xe-vfio-cli-'));
  good = join(folder, 'good.bin');
  writeFileSync(good, streamBytes(bmgPackets()));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(...argv: string[]) {
  let [stdout, stderr] = ['', ''];
  const code = await main(argv, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
  });
  return { code, stdout, stderr };
}

describe('xe-vfio', () => {
  it.each([[[]], [['--help']], [['-h']], [['help']]])(
    'shows every command and exit code: %o',
    async (argv) => {
      const { code, stdout, stderr } = await run(...argv);
      expect([code, stderr]).toEqual([0, '']);
      for (const { name, summary } of COMMANDS)
        expect(stdout).toMatch(new RegExp(`^  ${name} .*${summary.slice(0, 20)}`, 'm'));
      for (const [exit, meaning] of EXIT_MEANINGS)
        expect(stdout).toContain(`  ${exit}  ${meaning}`);
    },
  );

  it.each(['inspect', 'verify', 'diff'])(
    'shows options and examples of %s, in two ways',
    async (name) => {
      const help = await run(name, '--help');
      expect(help.code).toBe(0);
      expect(help.stdout).toContain(`Usage: xe-vfio ${name} [options]`);
      expect(help.stdout).toContain('--json');
      expect(help.stdout).toMatch(new RegExp(`Examples:\\n  \\$ xe-vfio ${name} `));
      expect(await run('help', name)).toEqual(help);
    },
  );

  it('loads the file of a command only when it is asked for', async () => {
    const loads = COMMANDS.map((entry) => vi.spyOn(entry, 'load'));
    await run('--help');
    await run('--version');
    await run('verify', '--help');
    const loaded = COMMANDS.filter((_, at) => loads[at]?.mock.calls.length).map(({ name }) => name);
    vi.restoreAllMocks();
    expect(loaded).toEqual(['verify']);
  });

  it('prints its version', async () => {
    expect(await run('--version')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  it.each([
    [['verfy', 'a'], "unknown command 'verfy' (Did you mean verify?)", 'xe-vfio --help'],
    [['--nope'], "unknown option '--nope'", 'xe-vfio --help'],
    [['verify'], "missing required argument 'file'", 'xe-vfio verify --help'],
    [['verify', 'a', '--rows', '3'], "unknown option '--rows'", 'xe-vfio verify --help'],
    [
      ['verify', 'a', 'b'],
      "too many arguments for 'verify'. Expected 1 argument but got 2.",
      'xe-vfio verify --help',
    ],
    [
      ['verify', 'a', '--revision', '256'],
      `option '--revision <R>' argument '256' is invalid. "256" is not a whole number 0 to 255.`,
      'xe-vfio verify --help',
    ],
    [['inspect', 'a', '--hex'], '--hex shows one packet, and none is named', 'add --packet N'],
  ])('explains %o, exits with 2 and prints nothing on stdout', async (argv, cause, hint) => {
    expect(await run(...argv)).toEqual({
      code: 2,
      stdout: '',
      stderr: `error: the command line is not understood\ncause: EINVAL ${cause}\nhint: ${hint}\n`,
    });
    const { code, stdout, stderr } = await run(...argv, '--json');
    expect([code, stderr]).toEqual([2, '']);
    expect(JSON.parse(stdout)).toEqual({
      schema: 1,
      ok: false,
      errno: 'EINVAL',
      reason: cause,
      hint,
    });
  });

  it('says what failed on which object in three lines', async () => {
    const path = join(folder, 'missing');
    expect(await run('verify', path)).toEqual({
      code: 3,
      stdout: '',
      stderr: `error: verify of ${path} failed\ncause: ENOENT ${path} does not exist\nhint: check the path\n`,
    });
    expect((await run('diff', good, folder)).code).toBe(5);
  });

  it('keeps control characters of names away from the terminal', async () => {
    const { stderr } = await run('verify', 'a\u001b[2Jb\nerror: forged');
    expect(stderr).toMatch(
      /^error: verify of a \[2Jb error: forged failed\ncause: .*\nhint: .*\n$/,
    );
  });
});

describe('verify', () => {
  it('prints a verdict for people and for programs', async () => {
    const text = await run(
      'verify',
      good,
      '--device',
      '8086:e20b',
      '--ggtt',
      '64K',
      '--vram',
      '8K',
      '--guc-state',
      '64,32',
    );
    expect([text.code, text.stderr]).toEqual([0, '']);
    expect(text.stdout).toMatch(/^verdict +accepted$/m);
    expect(text.stdout).toMatch(/^device +8086:e20b, bmg \(from the caller\)$/m);
    const { stdout } = await run('verify', good, '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      schema: 1,
      ok: true,
      format: 'raw',
      packets: 9,
      bytes: 8680,
    });
    expect(stdout.match(/\n/g)).toHaveLength(1);
  });

  it('exits with 6 and the place of a refusal', async () => {
    const words = ['verify', good, '--vram', '4K'];
    const text = await run(...words);
    expect([text.code, text.stdout]).toEqual([6, '']);
    expect(text.stderr).toBe(
      `error: ${good} is refused at packet 5, byte 4440\n` +
        "cause: EINVAL VRAM up to 8192 is past the VF's 4096 bytes\n" +
        `hint: xe-vfio inspect ${good}\n`,
    );
    const json = await run(...words, '--json');
    expect([json.code, json.stderr]).toEqual([6, '']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      schema: 1,
      ok: false,
      errno: 'EINVAL',
      offset: 4440,
      packet: 5,
    });
  });

  it.each(['10de:e20b', 'e20b', '8086:e20'])('refuses %s as a device', async (device) => {
    expect((await run('verify', good, '--device', device)).code).toBe(2);
  });
});

describe('inspect and diff', () => {
  it('print tables', async () => {
    const { code, stdout } = await run('inspect', good);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^packet +offset +type +tile +GT +resource offset +size +zero$/m);
    expect(stdout).toMatch(/^ +5 +4440 +VRAM +0 +0 +0x1000 +4 KiB +0 %$/m);
  });

  it('print the bytes of a packet', async () => {
    const { stdout } = await run('inspect', good, '--packet', '0', '--hex');
    expect(stdout).toContain(
      '00000000  01 00 01 f0 0b e2 00 00  01 00 02 f0 00 00 00 00  |................|',
    );
    const json = JSON.parse(
      (await run('inspect', good, '--packet', '1', '--hex', '--limit', '4', '--json')).stdout,
    );
    expect(json).toMatchObject({ schema: 1, ok: true, packet: { type: 'GUC' }, truncated: true });
    expect(json.payloadHex).toHaveLength(8);
    const capped = await run('inspect', good, '--packet', '1', '--hex', '--limit', '4');
    expect(capped.stdout).toContain('60 more bytes (--limit SIZE shows more of them)');
  });

  it('tell equal from different by the exit code', async () => {
    const other = join(folder, 'other.bin');
    writeFileSync(other, streamBytes(bmgPackets([4096])));
    expect(await run('diff', good, good)).toEqual({ code: 0, stdout: 'equal\n', stderr: '' });
    const { code, stdout } = await run('diff', good, other);
    expect(code).toBe(1);
    expect(stdout).toContain('VRAM GT 0 0x1000-0x1fff: only in A\n');
    const json = await run('diff', good, other, '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({
      schema: 1,
      ok: true,
      equal: false,
      omitted: 0,
    });
  });
});
