// Network namespaces that are joined by a bridge: hosts as far as TCP can tell.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const ip = (...args) => promisify(execFile)('ip', args);

/** The hosts; making them needs root. */
export class Hosts {
  #names = [];
  #bridge = `xev${process.pid}`;

  /** @param {number} count */
  static async join(count) {
    const hosts = new Hosts();
    try {
      await hosts.#join(count);
      return hosts;
    } catch (error) {
      await hosts.close();
      throw error;
    }
  }

  async #join(count) {
    const bridge = this.#bridge;
    await ip('link', 'add', bridge, 'type', 'bridge');
    await ip('link', 'set', bridge, 'up');
    for (let n = 0; n < count; n++) {
      const name = `${bridge}n${n}`;
      await ip('netns', 'add', name);
      this.#names.push(name);
      await ip('link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
      await ip('link', 'set', name, 'master', bridge, 'up');
      await ip('-n', name, 'addr', 'add', `${this.address(n)}/24`, 'dev', 'eth0');
      await ip('-n', name, 'link', 'set', 'eth0', 'up');
    }
  }

  /** What starts a program on a host. */
  launcher(place) {
    return ['ip', 'netns', 'exec', this.#names[place]];
  }

  /** The address of a host. */
  address(place) {
    return `10.213.7.${place + 1}`;
  }

  /** Removes them. Idempotent. */
  async close() {
    for (const name of this.#names.splice(0)) await ip('netns', 'del', name).catch(() => {});
    await ip('link', 'del', this.#bridge).catch(() => {});
  }
}
