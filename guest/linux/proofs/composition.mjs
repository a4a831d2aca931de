// In the guest: `serve --pf` on a machine whose VF is one of igb behind vfio-pci and whose PF is a
// directory of plain files with the names of xe's. What the PF does is proved elsewhere; here it is that the
// two halves make one served VF.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { VfioUserClient } from '../../../dist/vfio-user/client.js';
import { assert, bindToVfio, findPci, proof, runProgram, until } from './proof.mjs';

const CLI = '/app/bin/xe-vfio';
const STREAM = '/app/stream.bin';
const ROOT = '/tmp/machine';
const PF = '0000:03:00.0';
const SOCKET = '/tmp/pf.sock';
/** Descriptor and trailer, which the PF leaves out of the size that it tells. */
const FRAME_SIZE = 2 * 24 + 16;

const igb = findPci(0x8086, 0x10c9);
if (findPci(0x8086, 0x10ca) === undefined)
  fs.writeFileSync(`/sys/bus/pci/devices/${igb}/sriov_numvfs`, '2');
const vf = findPci(0x8086, 0x10ca);
bindToVfio(vf);

function put(path, text = '') {
  fs.mkdirSync(path.slice(0, path.lastIndexOf('/')), { recursive: true });
  fs.writeFileSync(path, text);
}

const devices = `${ROOT}/sys/bus/pci/devices`;
const pf = `${devices}/${PF}`;
for (const [name, text] of Object.entries({
  vendor: '0x8086',
  device: '0xe20b',
  revision: '0x00',
  sriov_totalvfs: '1',
  sriov_numvfs: '1',
}))
  put(`${pf}/${name}`, text);
fs.mkdirSync(`${ROOT}/sys/bus/pci/drivers/xe`, { recursive: true });
fs.symlinkSync('../../drivers/xe', `${pf}/driver`);
fs.symlinkSync(`../${vf}`, `${pf}/virtfn0`);
fs.symlinkSync(`/sys/bus/pci/devices/${vf}`, `${devices}/${vf}`);
fs.symlinkSync('/dev', `${ROOT}/dev`);
const debugfs = `${ROOT}/sys/kernel/debug/dri/${PF}`;
const files = `${debugfs}/sriov/vf1`;
const streamBytes = fs.statSync(STREAM).size;
for (const gt of [0, 1]) {
  put(`${debugfs}/gt${gt}/uc/guc_info`, 'found release version 70.54.0\n');
  put(`${files}/tile0/gt${gt}/control`);
}
for (const name of ['pause', 'resume', 'stop', 'reset', 'save', 'restore']) put(`${files}/${name}`);
put(`${files}/migration_size`, String(streamBytes - FRAME_SIZE));
fs.copyFileSync(STREAM, `${files}/migration_data`);

await proof(
  'serve --pf: the VF behind vfio-pci and its PF behind files are one device',
  async () => {
    const args = ['serve', '--root', ROOT, '--pf', PF, '--vf', '1', '--socket', SOCKET];
    const server = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let told = '';
    for (const stream of [server.stdout, server.stderr])
      stream.on('data', (text) => (told += text));
    const ended = new Promise((resolve) => server.once('exit', resolve));
    try {
      await until(() => {
        if (server.exitCode !== null) throw new Error(told);
        return told.includes('ready');
      }, 120_000);
      // Opening reset the VF, and the PF was asked to finish its part of that.
      assert.equal(fs.readFileSync(`${files}/reset`, 'utf8'), '1');
      const client = await VfioUserClient.connect(SOCKET);
      const id = new Uint8Array(4);
      client.regionRead(7, 0, id, 0, 4);
      assert.equal(new DataView(id.buffer).getUint32(0, true), 0x10ca8086);
      assert.equal(client.migrationFlags, 3);
      assert.equal(client.regionInfo(0).areas[0].size, 16384);
      await client.close();

      const saved = await runProgram(process.execPath, [
        ...[CLI, 'save', SOCKET, '/tmp/vf.stream', '--raw', '--resume'],
      ]);
      assert.equal(saved.code, 0, saved.stderr);
      assert.deepEqual(fs.readFileSync('/tmp/vf.stream'), fs.readFileSync(STREAM));
      for (const name of ['pause', 'save', 'resume'])
        assert.equal(fs.readFileSync(`${files}/${name}`, 'utf8'), '1', name);

      // Whoever wants the VF back gets it, and the server ends.
      const unbind = await runProgram('/bin/sh', [
        '-c',
        `echo ${vf} > /sys/bus/pci/devices/${vf}/driver/unbind`,
      ]);
      assert.equal(unbind.code, 0);
      const code = await ended;
      bindToVfio(vf);
      return { told, code, saved: saved.stdout };
    } finally {
      server.kill();
      await ended;
    }
  },
);
