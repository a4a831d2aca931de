/** Memory of one process that holds 16 PFs of 63 VFs each, configured and idle. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PFS = 16;
const VFS = 63;

/** @returns {Promise<object[]>} one row */
export async function idleVfs() {
  const script = fileURLToPath(new URL('idle-vfs-process.mjs', import.meta.url));
  const { resident, vfs } = JSON.parse(
    execFileSync(process.execPath, [script, String(PFS), String(VFS)], { encoding: 'utf8' }),
  );
  return [
    {
      name: `memory of ${vfs} idle VFs (${PFS} PFs of ${VFS})`,
      unit: 'B',
      ours: resident,
      yardstick: 1e9,
      yardstickName: 'the bound, 1 GB',
      reach: 1,
      better: 'lower',
    },
  ];
}
