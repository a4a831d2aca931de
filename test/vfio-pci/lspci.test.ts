import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';
import { lspciDump } from '../../src/vfio-pci/lspci-dump.ts';
import { VfioPciCore } from '../../src/vfio-pci/vfio-pci-core.ts';
import { FakeEventFds, xeVf } from '../support/test-function.ts';

const missing = spawnSync('lspci', ['--version']).error !== undefined;
const reason = missing ? ' (skipped: lspci of pciutils is not installed)' : '';
const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-lspci-'));
afterAll(() => rmSync(directory, { recursive: true }));

async function opened(platform: 'ptl' | 'bmg') {
  const device = new VfioPciCore({ pciFunction: xeVf(platform), eventFds: new FakeEventFds() });
  await device.enable();
  return device;
}

function lspci(dump: string, ...options: string[]): string {
  const file = join(directory, 'dump.txt');
  writeFileSync(file, dump);
  return execFileSync('lspci', ['-F', file, ...options], { encoding: 'utf8', stdio: 'pipe' });
}

describe('a dump of configuration space', () => {
  it('has a heading and 256 rows of 16 bytes', async () => {
    const lines = lspciDump(await opened('ptl'))
      .trimEnd()
      .split('\n');
    expect(lines[0]).toBe('00:02.0 Class 0300: Device 8086:b080 (rev 04)');
    expect(lines).toHaveLength(257);
    expect(lines[1]).toBe('00: 86 80 80 b0 02 00 10 00 04 00 00 03 00 00 00 00');
    expect(lines[2]).toBe('10: 0c 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00');
    expect(lines[256]).toMatch(/^ff0: (00 ?){16}$/);
  });
});

describe.skipIf(missing)(`lspci -F on a VF${reason}`, () => {
  it('shows a Panther Lake VF', async () => {
    const dump = lspciDump(await opened('ptl'));
    const text = lspci(dump, '-vvv');
    expect(lspci(dump, '-n')).toContain('0300: 8086:b080 (rev 04)');
    expect(text).toMatch(/Control: I\/O- Mem\+ BusMaster-/);
    expect(text).toMatch(/Status: Cap\+/);
    expect(text).toMatch(/Capabilities: \[40\] Express .*Root Complex Integrated Endpoint/);
    expect(text).toContain('FLReset+');
    expect(text).toMatch(/Capabilities: \[90\] MSI: Enable- Count=1\/1 Maskable- 64bit\+/);
    expect(text).toMatch(/Capabilities: \[d0\] Power Management version 3/);
    expect(text).toContain('PME(D0-,D1-,D2-,D3hot-,D3cold-)');
    expect(text).toMatch(/Capabilities: \[100 v1\] Alternative Routing-ID Interpretation/);
    expect(text).toMatch(/Capabilities: \[140 v1\] Address Translation Service/);
    expect(text).not.toMatch(/LnkCap|broken|unknown|bogus/i);
  });

  it('shows a Battlemage VF', async () => {
    const dump = lspciDump(await opened('bmg'));
    const text = lspci(dump, '-vvv');
    expect(lspci(dump, '-n')).toContain('0300: 8086:e20b (rev 04)');
    expect(text).toMatch(/Capabilities: \[40\] Express .*Endpoint/);
    expect(text).toContain('FLReset+');
    expect(text).toContain('LnkCap:');
    expect(text).toMatch(/Region 2: .*64-bit, prefetchable/);
    expect(text).not.toMatch(/broken|unknown|bogus/i);
  });

  for (const [platform, id, type] of [
    ['ptl', 'b080', 'Root Complex Integrated Endpoint'],
    ['wcl', 'fd80', 'Root Complex Integrated Endpoint'],
    ['bmg', 'e20b', 'Endpoint'],
  ] as const)
    it(`shows an emulated VF of ${platform} as what it is`, async () => {
      const vramSize = platform === 'bmg' ? 2 ** 26 : undefined;
      using host = await EmulatedHost.create({ platform, vfs: 1, vramSize });
      const device = await host.open(1);
      const dump = lspciDump(device);
      const text = lspci(dump, '-vvv');
      expect(lspci(dump, '-n')).toContain(`0300: 8086:${id}`);
      expect(text).toMatch(/Control: I\/O- Mem\+ BusMaster-/);
      expect(text).toMatch(new RegExp(`Capabilities: \\[..\\] Express \\(v2\\) ${type}`));
      expect(text).toContain('FLReset+');
      expect(text).toMatch(/MSI: Enable- Count=1\/1 Maskable. 64bit\+/);
      expect(text).toMatch(/Power Management version 3/);
      expect(text).toMatch(/Region 0: Memory at <unassigned> \(64-bit/);
      expect(/Region 2: Memory/.test(text)).toBe(platform === 'bmg');
      expect(text).not.toMatch(/broken|unknown|bogus/i);
      await device.close();
    });
});
