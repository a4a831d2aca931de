/** What is said of a migration's traffic over the network. */
import type { NetworkTraffic } from '../app/network-move.ts';
import { formatSize } from '../base/size.ts';

/** As part of the JSON of a result; sizes in bytes. */
export function trafficDocument(traffic: NetworkTraffic): object {
  const { wireBytes, zeroBytes, compressedBytes, resumptions } = traffic;
  return { network: { wireBytes, zeroBytes, compressedBytes, resumptions } };
}

/** As lines for people. */
export function trafficLines(traffic: NetworkTraffic): string[] {
  const { wireBytes, zeroBytes, compressedBytes, resumptions } = traffic;
  const cut = resumptions === 0 ? '' : `, connections made again ${resumptions} times`;
  return [
    `on the wire: ${formatSize(wireBytes)}; ${formatSize(zeroBytes)} of zeros left out, ` +
      `${formatSize(compressedBytes)} compressed${cut}`,
  ];
}
