import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));

describe('examples', () => {
  it('migrate-in-process.mjs moves what the VF holds', async () => {
    const { stdout, stderr } = await run(process.execPath, [`${EXAMPLES}migrate-in-process.mjs`]);
    expect(stdout).toMatch(/^\d+ bytes; VF 2 holds "moved by xe-vfio"\n$/);
    expect(stderr).toBe('');
  });
});
